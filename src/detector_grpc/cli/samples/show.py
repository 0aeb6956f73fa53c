"""`detector-grpc samples show`."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click
import cv2

from detector_grpc.capture.sheet import TILE_WH, Tile, contact_sheet
from detector_grpc.capture.sinks.sink import ObjectMissing
from detector_grpc.cli.connection import json_option
from detector_grpc.cli.progress import progress_bar
from detector_grpc.cli.samples.choosing import Chosen, choosing
from detector_grpc.errors import ImageError
from detector_grpc.vision.decode import MAX_PIXELS, open_encoded
from detector_grpc.vision.draw import LabelledBox

if TYPE_CHECKING:
    from detector_grpc.capture.sample import Sidecar

log = logging.getLogger(__name__)


@click.command()
@choosing
@click.option("--most", type=click.IntRange(1, 1000), default=24, show_default=True, help="Most samples to draw.")
@click.option("--columns", type=click.IntRange(1, 20), default=4, show_default=True, help="Samples side by side.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("samples.jpg"),
    show_default=True,
    metavar="FILE",
    help="Where to draw it.",
)
@json_option
def show(chosen: Chosen, *, most: int, columns: int, out: Path, as_json: bool) -> None:
    """Draw a contact sheet of samples with the model's boxes, the most uncertain first.

    Labels of people, where there are any, are drawn instead of the model's boxes.
    """
    shown = chosen.most_uncertain(most)
    if not shown:
        raise click.ClickException(f"there are no such samples in {chosen.sink.place}")
    with progress_bar(len(shown)) as bar:
        task = bar.add_task("pictures", total=len(shown))
        tiles = {}
        for sidecar in shown:
            key = sidecar.keys.picture
            try:
                tiles[key] = _tile(chosen.sink.get(key), sidecar)
            except (ObjectMissing, ImageError) as error:
                log.warning("%s is passed over: %s", key, error)
            bar.advance(task)
    if not tiles:
        raise click.ClickException("none of these samples has a picture that can be shown")
    sheet = contact_sheet(list(tiles.values()), columns)
    try:
        drawn = cv2.imwrite(str(out), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    except cv2.error as error:
        raise click.ClickException(
            f"{click.format_filename(out)}: choose a name that ends with .jpg or .png"
        ) from error
    if not drawn:
        raise click.ClickException(f"cannot write {click.format_filename(out)}")
    if as_json:
        click.echo(json.dumps({"file": str(out), "samples": list(tiles), "of": len(chosen.sidecars)}))
    else:
        click.echo(f"{click.format_filename(out)}: {len(tiles)} of {len(chosen.sidecars)} samples")


def _tile(picture: bytes, sidecar: Sidecar) -> Tile:
    image = open_encoded(picture, MAX_PIXELS).pixels(TILE_WH)
    caption = f"{sidecar.uncertainty.score:.2f} {sidecar.uncertainty.driver}  {sidecar.model} {sidecar.version}"
    return Tile(image, (sidecar.width, sidecar.height), _boxes(sidecar), f"{caption}  {sidecar.sha256[:8]}")


def _boxes(sidecar: Sidecar) -> list[LabelledBox]:
    if sidecar.labels is None:
        return [LabelledBox(box.bbox, box.class_id, box.class_name, box.confidence) for box in sidecar.detections]
    ids = {name: class_id for class_id, name in enumerate(sidecar.class_names)}
    return [
        LabelledBox(label.bbox, ids.get(label.class_name, len(ids)), label.class_name, None) for label in sidecar.labels
    ]
