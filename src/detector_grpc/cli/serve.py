"""`detector-grpc serve`: one server process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from detector_grpc import app
from detector_grpc.cli.options import with_settings

if TYPE_CHECKING:
    from detector_grpc.settings import Settings


@click.command()
@with_settings
def serve(settings: Settings) -> None:
    """Serve models over gRPC until SIGTERM or Ctrl-C."""
    app.run(settings)
