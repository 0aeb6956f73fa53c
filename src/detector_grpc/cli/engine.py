"""`detector-grpc engine`: the process that runs models on GPUs for the servers of a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from detector_grpc import engine_app
from detector_grpc.cli.options import with_settings_of

if TYPE_CHECKING:
    from detector_grpc.settings import Settings


@click.command()
@with_settings_of("log_level", "runtime", "gpu")
def engine(settings: Settings) -> None:
    """Run models on GPUs for the servers of this machine, until SIGTERM or Ctrl-C.

    One process puts the pictures of all servers into the same batches. `up` starts it where several servers share GPUs.
    """
    engine_app.run(settings)
