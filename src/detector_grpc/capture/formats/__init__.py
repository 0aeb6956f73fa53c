"""Formats of labelling tools: what of a dataset goes into files beside the pictures, and what labels come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.capture.formats import coco, cvat, label_studio, voc, yolo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from detector_grpc.capture.formats.dataset import Dataset, Sizes
    from detector_grpc.capture.sample import Label


class Format(NamedTuple):
    """How one tool has it.

    Attributes:
        title: For people.
        pictures: Name of the folder of the pictures.
        write: Writes everything but the pictures into a folder.
        read: Reads labels by the key of their picture; raises SetupInvalid.
    """

    title: str
    pictures: str
    write: Callable[[Dataset, Path], None]
    read: Callable[[Path, Sizes], Mapping[str, tuple[Label, ...]]]


FORMATS = {
    "coco": Format("COCO", "images", coco.write, coco.read),
    "yolo": Format("YOLO", "images", yolo.write, yolo.read),
    "voc": Format("PASCAL VOC", "JPEGImages", voc.write, voc.read),
    "label-studio": Format("Label Studio", "images", label_studio.write, label_studio.read),
    "cvat": Format("CVAT for images", "images", cvat.write, cvat.read),
}
