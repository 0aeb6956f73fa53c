"""A reference of pictures in a folder: what a version sees in them, and how they look, in a file of references."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import click

from detector_grpc.cli.detect import pictures_in
from detector_grpc.cli.progress import progress_bar
from detector_grpc.client import Detector
from detector_grpc.drift import reference_file
from detector_grpc.drift.block import BLOCK, Block
from detector_grpc.drift.observation import Observation, observe
from detector_grpc.drift.reference import NEEDED, Reference
from detector_grpc.errors import ImageError, ReferenceInvalid
from detector_grpc.vision.decode import MAX_PIXELS, open_encoded
from detector_grpc.vision.detections import Detections
from detector_grpc.vision.letterbox import Letterbox
from detector_grpc.vision.sample import sample

if TYPE_CHECKING:
    from pathlib import Path

    from detector_grpc.cli.connection import Connection
    from detector_grpc.drift.observation import Watched


def reference_of(folder: Path, server: Connection, watched: Watched) -> str:
    """The text of a file with one reference.

    Pictures in a folder follow one another by no time, so they are shuffled, and tell of every time of day.

    Args:
        folder: With pictures, also in its subfolders.
        server: Has the version look at them.
        watched: The version.

    Raises:
        click.ClickException: There are too few, or one cannot be read.
        CallFailed: The server did not answer.
    """
    files = pictures_in(folder)
    random.Random(0).shuffle(files)  # noqa: S311 - no secret
    with Detector(
        server.address, model=watched.model, version=watched.version, token=server.token, tls=server.tls
    ) as detector:
        (input_wh,) = [each.input_wh for each in detector.models() if (each.model, each.version) == watched] or [None]
        with progress_bar(len(files)) as progress:
            seen = [_look(detector, file, input_wh) for file in progress.track(files, description="looking")]
    now_s = time.time()
    blocks = [Block.of(seen[start : start + BLOCK], now_s) for start in range(0, len(seen) - BLOCK + 1, BLOCK)]
    try:
        reference_file.check(blocks, NEEDED)
    except ReferenceInvalid as error:
        raise click.ClickException(
            f"{click.format_filename(folder)}: {error.message}, of {BLOCK} pictures each"
        ) from error
    reference = Reference(blocks, f"{len(blocks) * BLOCK} pictures of a folder", now_s, timeless=True)
    return reference_file.to_json([reference_file.Kept(watched, "", reference)])


def _look(detector: Detector, file: Path, input_wh: tuple[int, int] | None) -> Observation:
    """What is observed where the server looks at a picture, which it decodes only as far as its model needs."""
    try:
        data = file.read_bytes()
        picture = open_encoded(data, MAX_PIXELS)
        wanted_wh = (
            Letterbox.fit(picture.image_wh, input_wh[::-1], "letterbox").resized_wh if input_wh else picture.image_wh
        )
        kept = sample(picture.pixels(wanted_wh))
    except (OSError, ImageError) as error:
        raise click.ClickException(f"{click.format_filename(file)}: {error}") from error
    found = detector.detect(data)
    names = dict(zip(found.class_id.tolist(), found.class_name, strict=True))
    by_id = [names.get(number, "") for number in range(max(names, default=-1) + 1)]
    return observe(kept, found.image_wh, Detections(found.xyxy, found.confidence, found.class_id), by_id)
