"""`detector-grpc drift report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from detector_grpc.cli.drift.connection import ask, connected_to_drift

if TYPE_CHECKING:
    from detector_grpc.cli.connection import Connection


@click.command()
@connected_to_drift
@click.argument("model", default="")
@click.argument("version", default="")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("drift.html"),
    show_default=True,
    metavar="FILE",
    help="Where to write it.",
)
def report(connection: Connection, *, model: str, version: str, out: Path) -> None:
    """Save the page that shows why VERSION of MODEL is in its state, or the only one that is watched."""
    page = ask(connection, lambda drift: drift.report(model, version))
    try:
        out.write_bytes(page)
    except OSError as error:
        raise click.ClickException(f"cannot write {click.format_filename(out)}: {error.strerror}") from error
    click.echo(f"{click.format_filename(out)}: open it in a browser")
