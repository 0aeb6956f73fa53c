"""`detector-grpc up`: servers and what stands before them, on one machine."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click
from rich.console import Console

from detector_grpc.cli.demo import show_next_steps
from detector_grpc.cli.options import with_settings
from detector_grpc.up.app import run

if TYPE_CHECKING:
    from detector_grpc.settings import Settings


@click.command()
@with_settings
def up(settings: Settings) -> None:
    """Serve models over gRPC, REST and a page, with as many server processes as WORKERS says, until Ctrl-C.

    Starts `serve`, Envoy and `gateway serve`, starts again what crashes, and stops all in order; a second Ctrl-C stops
    at once. Their logs are one stream, on standard error. With --demo it also looks at a bundled picture.
    """
    stderr = Console(stderr=True)
    coloured = stderr.color_system is not None and not stderr.no_color
    run(settings, partial(show_next_steps, settings), coloured=coloured)
