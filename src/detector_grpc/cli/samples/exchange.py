"""`detector-grpc samples export` and `import`."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import click

from detector_grpc.capture import exchange
from detector_grpc.capture.formats import FORMATS
from detector_grpc.cli.connection import json_option
from detector_grpc.cli.progress import progress_bar
from detector_grpc.cli.samples.choosing import Chosen, choosing

_format_option = click.option(
    "--format", "name", type=click.Choice(list(FORMATS)), required=True, help="That of the labelling tool."
)


@click.command()
@choosing
@click.argument("to", type=click.Path(file_okay=False, path_type=Path))
@_format_option
@json_option
def export(chosen: Chosen, *, to: Path, name: str, as_json: bool) -> None:
    """Write samples into the new folder TO for a labelling tool.

    Boxes are those of people where there are any, else the model's. A picture that was captured more than once is
    written once.
    """
    sidecars = exchange.each_picture_once(chosen.sidecars)
    if not sidecars:
        raise click.ClickException(f"there are no such samples in {chosen.sink.place}")
    with progress_bar(len(sidecars)) as bar:
        task = bar.add_task("pictures", total=len(sidecars))
        dataset = exchange.export(chosen.sink, sidecars, FORMATS[name], to, lambda: bar.advance(task))
    boxes = sum(len(picture.labels) for picture in dataset.pictures)
    if as_json:
        said = {"folder": str(to), "pictures": len(dataset.pictures), "boxes": boxes, "classes": dataset.class_names}
        click.echo(json.dumps(said))
    else:
        click.echo(f"{click.format_filename(to)}: {len(dataset.pictures)} pictures with {boxes} boxes")


@click.command("import")
@choosing
@click.argument("labels", type=click.Path(exists=True, path_type=Path))
@_format_option
@json_option
def import_(chosen: Chosen, *, labels: Path, name: str, as_json: bool) -> None:
    """Give samples the labels that people made of them.

    LABELS is what a labelling tool has exported: a file, or a folder with one or more. Pictures are known by the names
    of their files, of which tools may change the folder.
    """
    if zipfile.is_zipfile(labels):
        raise click.ClickException(f"{click.format_filename(labels)} is a ZIP file; unpack it, and give what is in it")
    with progress_bar(len(chosen.sidecars)) as bar:
        task = bar.add_task("samples", total=len(chosen.sidecars))
        done = exchange.import_labels(chosen.sink, chosen.sidecars, FORMATS[name], labels, lambda: bar.advance(task))
    if as_json:
        click.echo(json.dumps({**done._asdict(), "samples": len(chosen.sidecars)}))
    else:
        rest = len(chosen.sidecars) - done.changed - done.unchanged
        click.echo(f"{done.changed} samples have new labels, {done.unchanged} had them, {rest} have none there")
