"""Samples to labelling tools with the model's boxes as a first proposal, and people's labels back."""

from __future__ import annotations

import logging
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import cv2

from detector_grpc.capture.formats.dataset import BOX_DIGITS, Dataset, LabelledPicture, Sizes, key_of
from detector_grpc.capture.sample import SIDECAR_MEDIA_TYPE, Label
from detector_grpc.capture.sinks.sink import ObjectMissing
from detector_grpc.errors import ImageError, SetupInvalid
from detector_grpc.vision.decode import MAX_PIXELS, open_encoded
from detector_grpc.vision.header import read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from detector_grpc.capture.formats import Format
    from detector_grpc.capture.sample import Bbox, Sidecar
    from detector_grpc.capture.sinks.sink import Sink

log = logging.getLogger(__name__)

PEOPLE = "people"

_UPRIGHT = 1  # of the EXIF orientations
_SHOWN_EVERYWHERE = frozenset({"JPEG", "PNG", "WebP", "BMP"})


class Imported(NamedTuple):
    """What became of labels.

    Attributes:
        changed: Samples whose labels are others now.
        unchanged: Samples that had these labels.
    """

    changed: int
    unchanged: int


def each_picture_once(sidecars: Iterable[Sidecar]) -> list[Sidecar]:
    """Of samples of the same picture the one with labels, else the latest; in the order of first appearance."""
    best: dict[str, Sidecar] = {}
    for sidecar in sidecars:
        name = stem(sidecar)
        if name not in best or _rank(sidecar) > _rank(best[name]):
            best[name] = sidecar
    return list(best.values())


def stem(sidecar: Sidecar) -> str:
    """What the name of a sample's file is without its suffix."""
    return PurePosixPath(sidecar.keys.picture).stem


def export(sink: Sink, sidecars: Sequence[Sidecar], form: Format, folder: Path, advance: Callable[[], None]) -> Dataset:
    """Writes samples for a tool.

    Boxes are people's where there are any, else the model's. Tools do not agree on whether the orientation in a file
    is to be applied, so that no picture has one: those that had, and those that browsers do not show, are written
    as PNG, upright; all others are the very files that were captured. A picture that is missing, or no picture, is
    passed over.

    Args:
        sink: Where the samples are.
        sidecars: Samples, of different pictures.
        form: Of the tool.
        folder: Is made; must be empty if it is there.
        advance: Called after every picture.

    Raises:
        SetupInvalid: The folder cannot be used.
        SinkError: The sink cannot be read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise SetupInvalid([f"{folder} is not empty; export into a new folder"])
        (folder / form.pictures).mkdir()
        pictures = []
        for sidecar in sidecars:
            advance()
            key = sidecar.keys.picture
            try:
                suffix, data = _plain(sink.get(key), PurePosixPath(key).suffix)
            except (ObjectMissing, ImageError) as error:
                log.warning("%s is passed over: %s", key, error)
                continue
            picture = labelled(sidecar, suffix)
            (folder / form.pictures / picture.file).write_bytes(data)
            pictures.append(picture)
        dataset = Dataset(_class_names(sidecars), tuple(pictures))
        form.write(dataset, folder)
    except OSError as error:
        raise SetupInvalid([f"cannot write to {folder}: {error.strerror}"]) from error
    return dataset


def labelled(sidecar: Sidecar, suffix: str) -> LabelledPicture:
    """A sample with the boxes that there are: people's, else the model's."""
    if sidecar.labels is not None:
        labels, confidences, seen_by = sidecar.labels, None, PEOPLE
    else:
        labels = tuple(Label(class_name=box.class_name, bbox=box.bbox) for box in sidecar.detections)
        confidences = tuple(box.confidence for box in sidecar.detections)
        seen_by = f"{sidecar.model} {sidecar.version}"
    rounded = tuple(Label(class_name=each.class_name, bbox=_rounded(each.bbox)) for each in labels)
    return LabelledPicture(f"{stem(sidecar)}{suffix}", sidecar.width, sidecar.height, rounded, confidences, seen_by)


def import_labels(
    sink: Sink, sidecars: Sequence[Sidecar], form: Format, path: Path, advance: Callable[[], None]
) -> Imported:
    """Gives samples the labels that people made of them, clipped to the picture; those of other pictures are left out.

    Args:
        sink: Where the samples are.
        sidecars: They.
        form: Of the tool.
        path: What the tool has written.
        advance: Called after every sample.

    Raises:
        SetupInvalid: What the tool has written is not as it should be, or is of none of the samples.
        SinkError: A sidecar cannot be replaced.
    """
    sizes = Sizes({stem(sidecar): (sidecar.width, sidecar.height) for sidecar in sidecars})
    found = form.read(path, sizes)
    if not found:
        raise SetupInvalid([f"{path} has no labels in the format of {form.title} for any of these samples"])
    changed = unchanged = 0
    for sidecar in sidecars:
        labels = found.get(key_of(stem(sidecar)))
        if labels is not None:
            clipped = tuple(_clipped(label, sidecar) for label in labels)
            if clipped == sidecar.labels:
                unchanged += 1
            else:
                corrected = sidecar.model_copy(update={"labels": clipped})
                sink.put(sidecar.keys.sidecar, corrected.to_json(indent=2), SIDECAR_MEDIA_TYPE, replace=True)
                changed += 1
        advance()
    return Imported(changed, unchanged)


def _rank(sidecar: Sidecar) -> tuple[bool, float]:
    return sidecar.labels is not None, sidecar.captured_at.timestamp()


def _class_names(sidecars: Iterable[Sidecar]) -> tuple[str, ...]:
    """Those of the models in their order, then those that only people know."""
    names = dict.fromkeys(name for sidecar in sidecars for name in sidecar.class_names)
    seen = (label.class_name for sidecar in sidecars for label in sidecar.labels or ())
    return tuple(names | dict.fromkeys(sorted(set(seen) - names.keys())))


def _plain(data: bytes, suffix: str) -> tuple[str, bytes]:
    """The file as every tool shows it, and the suffix of its name."""
    header = read_header(data)
    if header.orientation == _UPRIGHT and header.format.name in _SHOWN_EVERYWHERE:
        return suffix, data
    stored = open_encoded(data, MAX_PIXELS)
    _, file = cv2.imencode(".png", cv2.cvtColor(stored.pixels(stored.image_wh), cv2.COLOR_RGB2BGR))
    return ".png", file.tobytes()


def _rounded(bbox: Bbox) -> Bbox:
    x_min, y_min, x_max, y_max = (round(edge, BOX_DIGITS) for edge in bbox)
    return x_min, y_min, x_max, y_max


def _clipped(label: Label, sidecar: Sidecar) -> Label:
    x_min, y_min, x_max, y_max = label.bbox
    width, height = float(sidecar.width), float(sidecar.height)
    bbox = (
        min(max(x_min, 0.0), width),
        min(max(y_min, 0.0), height),
        min(max(x_max, 0.0), width),
        min(max(y_max, 0.0), height),
    )
    return Label(class_name=label.class_name, bbox=bbox)
