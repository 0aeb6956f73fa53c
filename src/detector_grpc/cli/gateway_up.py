"""`detector-grpc gateway up`: what stands before servers that are elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.console import Console

from detector_grpc.cli.options import with_settings
from detector_grpc.up.gateway_app import run

if TYPE_CHECKING:
    from detector_grpc.settings import Settings


@click.command()
@with_settings
def up(settings: Settings) -> None:
    """Run Envoy and `gateway serve` before servers on other machines or in other pods, until SIGTERM or Ctrl-C.

    DETECTOR_GATEWAY_SERVERS says where the servers are, DETECTOR_GATEWAY_VERSIONS which versions share the traffic.
    Who crashes is started again, and both are stopped in order: calls that are under way are answered first.
    """
    stderr = Console(stderr=True)
    run(settings, coloured=stderr.color_system is not None and not stderr.no_color)
