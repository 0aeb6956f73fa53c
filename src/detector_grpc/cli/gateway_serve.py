"""`detector-grpc gateway serve`: the HTTP process beside Envoy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from detector_grpc import gateway_app
from detector_grpc.cli.options import with_settings

if TYPE_CHECKING:
    from detector_grpc.settings import Settings


@click.command()
@with_settings
def serve(settings: Settings) -> None:
    """Serve the page, the docs, and what all servers say together, over HTTP until SIGTERM or Ctrl-C.

    Envoy stands before it, and sends it what is no call.
    """
    gateway_app.run(settings)
