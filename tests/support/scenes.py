"""Marked pictures and what was found in them, made up or by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detector_grpc.coco import Annotations, TrueBox
from detector_grpc.vision.detections import Detections
from support.servers import BUNDLED_MODELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any


SCENES = BUNDLED_MODELS.parent / "pictures"


class Scene(NamedTuple):
    """What is there, and what was found."""

    annotations: Annotations
    found: dict[int, Detections]


def random_scene(seed: int, pictures: int, categories: int) -> Scene:
    """Objects of all sizes, a tenth of them crowds; most are found, some twice, some in the wrong class or place."""
    rng = np.random.default_rng(seed)
    boxes, found = [], {}
    for key in range(pictures):
        rows = []
        for _ in range(rng.integers(0, 5)):
            corner, size, category = rng.uniform(0, 400, 2), rng.uniform(8, 200, 2), int(rng.integers(categories))
            is_crowd = bool(rng.random() < 0.1)
            boxes.append(true_box(key, f"c{category}", (*corner, *size), is_crowd=is_crowd))
            for _ in range(rng.integers(0, 3)):
                moved = np.concatenate([corner, corner + size]) + rng.normal(0, 0.1, 4) * np.tile(size, 2)
                taken_for = category if rng.random() < 0.8 else int(rng.integers(categories))
                rows.append((*moved, rng.random(), taken_for))
        found[key] = detections(*rows)
    names = tuple(f"c{index}" for index in range(categories))
    return Scene(Annotations({key: f"{key}.png" for key in range(pictures)}, names, tuple(boxes)), found)


def true_box(
    picture: int, category: str, xywh: tuple[float, float, float, float], *, is_crowd: bool = False
) -> TrueBox:
    return TrueBox(picture, category, tuple(map(float, xywh)), float(xywh[2] * xywh[3]), is_crowd)


def detections(*rows: tuple[float, ...]) -> Detections:
    """Of rows x_min, y_min, x_max, y_max, confidence, class_id; most confident first, as models give them."""
    array = np.array(rows, np.float64).reshape(-1, 6)
    made = Detections(array[:, :4].astype(np.float32), array[:, 4].astype(np.float32), array[:, 5].astype(np.int32))
    return made.best(len(made))


def perfect(annotations: Annotations) -> dict[int, Detections]:
    """Everything that is to be found is, and nothing else."""
    places = {name: place for place, name in enumerate(annotations.categories)}
    return {
        key: detections(
            *(
                (x, y, x + width, y + height, 0.9, places[box.category])
                for box in annotations.boxes
                if box.picture_id == key and not box.is_crowd
                for x, y, width, height in [box.xywh]
            )
        )
        for key in annotations.pictures
    }


def coco_json(
    path: Path, pictures: Sequence[str], categories: Mapping[int, str], boxes: Sequence[Mapping[str, Any]]
) -> Path:
    """Writes annotations; pictures have the ids 1, 2, …, and boxes, where they say no other, too."""
    content = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(pictures, 1)],
        "categories": [{"id": number, "name": name} for number, name in categories.items()],
        "annotations": [{"id": number, **box} for number, box in enumerate(boxes, 1)],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def bundled_scenes(path: Path) -> Path:
    """Writes what is in the bundled pictures, which lie in SCENES."""
    content = json.loads((SCENES / "boxes.json").read_text())
    names = sorted({box["class_name"] for boxes in content.values() for box in boxes})
    boxes = [
        {
            "image_id": number,
            "category_id": 10 + names.index(box["class_name"]),
            "bbox": [x_min, y_min, x_max - x_min, y_max - y_min],
        }
        for number, of_picture in enumerate(content.values(), 1)
        for box in of_picture
        for x_min, y_min, x_max, y_max in [box["bbox"]]
    ]
    return coco_json(path, list(content), dict(enumerate(names, 10)), boxes)
