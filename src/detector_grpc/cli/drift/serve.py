"""`detector-grpc drift serve`: the process that watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from detector_grpc import drift_app
from detector_grpc.cli.options import with_settings_of

if TYPE_CHECKING:
    from detector_grpc.settings import Settings


@click.command()
@with_settings_of("log_level", "reference_data_path", "drift", "tls", "auth")
def serve(settings: Settings) -> None:
    """Watch for drift, over all servers that tell what they observe, until SIGTERM or Ctrl-C.

    `up` starts it. Servers find it by --drift-target.
    """
    drift_app.run(settings)
