"""Label Studio's JSON: a list of tasks, a model's boxes as predictions, people's as annotations.

Boxes are left, top, width, height in percent of the picture's sides.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, SubElement

from pydantic import BaseModel, TypeAdapter, ValidationError

from detector_grpc.capture.formats.dataset import Dataset, LabelledPicture, Sizes, enclosing, key_of, label
from detector_grpc.capture.formats.xml import write_xml
from detector_grpc.errors import SetupInvalid
from detector_grpc.validation import faults

if TYPE_CHECKING:
    from pathlib import Path

    from detector_grpc.capture.sample import Label

FILE = "tasks.json"
CONFIG_FILE = "labeling_config.xml"

# Names that tie boxes to the parts of the labeling configuration.
_FROM, _TO, _KIND = "label", "image", "rectanglelabels"

# Below which Label Studio serves files of its own machine, where that is switched on.
_LOCAL_FILES = "/data/local-files/?d="
_PERCENT = 100
_MOST_FAULTS = 5


class _Value(BaseModel):
    x: float
    y: float
    width: float
    height: float
    rotation: float = 0
    rectanglelabels: tuple[str]


class _Region(BaseModel):
    type: str = ""
    value: dict[str, Any] = {}


class _Annotation(BaseModel):
    result: list[_Region]
    was_cancelled: bool = False


class _Data(BaseModel):
    image: str


class _Task(BaseModel):
    data: _Data
    annotations: list[_Annotation] = []


_TASKS = TypeAdapter(list[_Task])


def write(dataset: Dataset, folder: Path) -> None:
    """Writes `tasks.json` to import, and `labeling_config.xml` for the project.

    Pictures are named as files of the folder, for a local storage of Label Studio whose root is above it.
    """
    tasks = [_task(picture, folder.name) for picture in dataset.pictures]
    (folder / FILE).write_text(json.dumps(tasks, indent=1), encoding="utf-8")
    view = Element("View")
    SubElement(view, "Image", {"name": _TO, "value": "$image"})
    labels = SubElement(view, "RectangleLabels", {"name": _FROM, "toName": _TO})
    for name in dataset.class_names:
        SubElement(labels, "Label", {"value": name})
    write_xml(view, folder / CONFIG_FILE)


def read(path: Path, sizes: Sizes) -> dict[str, tuple[Label, ...]]:
    """Labels by `key_of` their picture, of an export of Label Studio in its format "JSON".

    Of several annotations of a picture the last one counts; a picture that nobody has annotated is left out, whatever
    was predicted.

    Raises:
        SetupInvalid: The file cannot be read, or is none of Label Studio's.
    """
    file = path / FILE if path.is_dir() else path
    try:
        tasks = _TASKS.validate_json(file.read_bytes())
    except OSError as error:
        raise SetupInvalid([f"cannot read {file}: {error.strerror}"]) from error
    except ValidationError as error:
        raise SetupInvalid([f"{file}: {each}" for each in faults(error)[:_MOST_FAULTS]]) from error
    labels = {}
    for task in tasks:
        size = sizes.of(task.data.image)
        done = [each for each in task.annotations if not each.was_cancelled]
        if size and done:
            where = f"{file}, {task.data.image}"
            labels[key_of(task.data.image)] = tuple(
                _label(where, region.value, size) for region in done[-1].result if region.type == _KIND
            )
    return labels


def _task(picture: LabelledPicture, folder: str) -> dict[str, Any]:
    regions = [_region(picture, number, each) for number, each in enumerate(picture.labels)]
    task: dict[str, Any] = {"data": {"image": f"{_LOCAL_FILES}{folder}/images/{picture.file}"}}
    if picture.confidences is None:
        return {**task, "annotations": [{"result": regions}]}
    for region, confidence in zip(regions, picture.confidences, strict=True):
        region["score"] = confidence
    score = min(picture.confidences, default=0.0)
    return {**task, "predictions": [{"model_version": picture.seen_by, "score": score, "result": regions}]}


def _region(picture: LabelledPicture, number: int, each: Label) -> dict[str, Any]:
    x_min, y_min, x_max, y_max = each.bbox
    return {
        "id": f"{picture.stem[:8]}{number}",
        "from_name": _FROM,
        "to_name": _TO,
        "type": _KIND,
        "original_width": picture.width,
        "original_height": picture.height,
        "image_rotation": 0,
        "value": {
            "x": x_min / picture.width * _PERCENT,
            "y": y_min / picture.height * _PERCENT,
            "width": (x_max - x_min) / picture.width * _PERCENT,
            "height": (y_max - y_min) / picture.height * _PERCENT,
            "rotation": 0,
            _KIND: [each.class_name],
        },
    }


def _label(where: str, value: dict[str, Any], size: tuple[int, int]) -> Label:
    try:
        box = _Value.model_validate(value)
    except ValidationError as error:
        raise SetupInvalid([f"{where}: {each}" for each in faults(error)[:_MOST_FAULTS]]) from error
    width, height = (side / _PERCENT for side in size)
    left, top = box.x * width, box.y * height
    xyxy = left, top, left + box.width * width, top + box.height * height
    return label(where, box.rectanglelabels[0], enclosing(xyxy, box.rotation, (left, top)))
