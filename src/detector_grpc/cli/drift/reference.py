"""`detector-grpc drift reference`: what the world is compared with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from detector_grpc.cli.connection import json_option
from detector_grpc.cli.drift.connection import ask, connected_to_drift
from detector_grpc.cli.drift.pictures import reference_of
from detector_grpc.drift.observation import Watched

if TYPE_CHECKING:
    from detector_grpc.cli.connection import Connection


@click.command()
@connected_to_drift
@click.argument("model")
@click.argument("version")
@click.option("--recent", is_flag=True, help="Use the observations of late, or since the world changed.")
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Use a reference file.")
@click.option(
    "--from",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Use the pictures in a folder, which a server is asked to look at.",
)
@click.option(
    "--server", default="localhost:50051", show_default=True, metavar="HOST:PORT", help="That server, for --from."
)
@click.option("--number", type=click.IntRange(1), help="Go back to a reference that the version had.")
@click.option("--learn", is_flag=True, help="Learn a new one from what comes.")
@json_option
def reference(
    connection: Connection,
    *,
    model: str,
    version: str,
    recent: bool,
    file: Path | None,
    folder: Path | None,
    server: str,
    number: int | None,
    learn: bool,
    as_json: bool,
) -> None:
    """List the references that VERSION of MODEL had, the latest first, or replace the one that it has."""
    options = {"--recent": recent, "--file": file, "--from": folder, "--number": number, "--learn": learn}
    chosen = [name for name, value in options.items() if value]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(chosen)} contradict each other")
    if not chosen:
        references = ask(connection, lambda drift: drift.references(model, version))
        click.echo(json.dumps(references, indent=2)) if as_json else Console().print(_table(references))
        return
    text = _read(file) if file else None
    if folder is not None:
        text = reference_of(folder, replace(connection, address=server), Watched(model, version))
    done = ask(
        connection,
        lambda drift: drift.update_reference(
            model, version, recent=recent or None, file=text, number=number, learn=learn or None
        ),
    )
    click.echo(json.dumps(done, indent=2) if as_json else _sentence(done))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"cannot read {click.format_filename(file)}: {error}") from error


def _table(references: list[dict[str, Any]]) -> Table:
    table = Table(
        "number",
        "source",
        Column("made", no_wrap=True, min_width=len("2025-06-01T12:00:00Z")),
        "observations",
        "of a day",
    )
    for each in references:
        of = each["reference"]
        table.add_row(
            str(each["number"]), Text(of["source"]), of["made"], str(of["observations"]), "yes" if of["daily"] else ""
        )
    return table


def _sentence(done: dict[str, Any]) -> str:
    now, before = done.get("reference"), done.get("previous")
    after = f"{now['observations']} observations: {now['source']}" if now else "a reference that is being learned"
    return f"Compared with {after}" + (f"; before with: {before['source']}" if before else "")
