"""COCO's format for object detection, as cocodataset.org has it: a JSON file, boxes as left, top, width, height."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from detector_grpc.capture.formats.dataset import BOX_DIGITS, Dataset, Sizes, key_of, label
from detector_grpc.coco import read_annotations

if TYPE_CHECKING:
    from pathlib import Path

    from detector_grpc.capture.sample import Label

FILE = "annotations.json"


def write(dataset: Dataset, folder: Path) -> None:
    """Writes `annotations.json`, as `models evaluate` takes it; classes are numbered from 1, as tools expect."""
    ids = {picture.file: number for number, picture in enumerate(dataset.pictures, 1)}
    boxes = []
    for number, (picture, label_, class_number) in enumerate(dataset.numbered(), 1):
        x_min, y_min, x_max, y_max = label_.bbox
        width, height = round(x_max - x_min, BOX_DIGITS), round(y_max - y_min, BOX_DIGITS)
        boxes.append(
            {
                "id": number,
                "image_id": ids[picture.file],
                "category_id": class_number + 1,
                "bbox": [x_min, y_min, width, height],
                "area": width * height,
                "iscrowd": 0,
                "segmentation": [],
            }
        )
    content = {
        "info": {"description": "exported by detector-grpc"},
        "images": [
            {"id": ids[each.file], "file_name": each.file, "width": each.width, "height": each.height}
            for each in dataset.pictures
        ],
        "annotations": boxes,
        "categories": [{"id": number, "name": name} for number, name in enumerate(dataset.class_names, 1)],
    }
    (folder / FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")


def read(path: Path, sizes: Sizes) -> dict[str, tuple[Label, ...]]:
    """Labels by `key_of` their picture, of a file, or of the one in a folder; pictures without boxes have none.

    Raises:
        SetupInvalid: The file cannot be read, or is none of COCO's.
    """
    annotations = read_annotations(path / FILE if path.is_dir() else path)
    known = {key: key_of(name) for key, name in annotations.pictures.items() if sizes.of(name)}
    labels: dict[str, list[Label]] = {name: [] for name in known.values()}
    for box in annotations.boxes:
        if box.picture_id in known:
            left, top, width, height = box.xywh
            labels[known[box.picture_id]].append(
                label(f"{path}", box.category, (left, top, left + width, top + height))
            )
    return {name: tuple(each) for name, each in labels.items()}
