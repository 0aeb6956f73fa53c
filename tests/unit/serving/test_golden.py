"""What the golden gate takes for the same boxes, and what it says of others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from support.sessions import FakeSession

from detector_grpc.errors import ModelInvalid
from detector_grpc.serving import golden
from detector_grpc.serving.inputs import ImageInput
from detector_grpc.serving.layouts import Layout
from detector_grpc.serving.options import DetectOptions
from detector_grpc.serving.pipeline import Pipeline
from detector_grpc.serving.spec import ModelSpec

if TYPE_CHECKING:
    from pathlib import Path

Row = tuple[str, float, tuple[float, float, float, float]]

CLASS_NAMES = ("car", "bus")
CAR: Row = ("car", 0.9, (0, 0, 20, 20))
BUS: Row = ("bus", 0.6, (30, 30, 60, 60))
OPTIONS = {
    "confidence_threshold": 0.5,
    "iou_threshold": 0.7,
    "multi_label": False,
    "class_agnostic_nms": False,
    "max_detections": 300,
}


def pipeline(*rows: Row) -> Pipeline:
    """A model that finds these in every picture of 64 x 64 px."""
    output = np.zeros((1, 6, 21), np.float32)
    for column, (class_name, confidence, bbox) in enumerate(rows):
        output[0, :4, column] = bbox
        output[0, 4 + CLASS_NAMES.index(class_name), column] = confidence
    # The version's own operating point lets everything through; the gate has options of its own.
    options = DetectOptions(confidence_threshold=0.01, class_confidence_thresholds={"car": 0.99})
    spec = ModelSpec(CLASS_NAMES, ImageInput("images", (64, 64)), Layout("xyxy", ("output0",)), options)
    return Pipeline(spec, FakeSession({"output0": output}), 10_000)


def blessed(folder: Path, *rows: Row, **overrides: object) -> Path:
    """A golden folder with one picture in which these are expected."""
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "grey.png"), np.full((64, 64, 3), 128, np.uint8))
    expected = [{"class_name": name, "confidence": confidence, "bbox": bbox} for name, confidence, bbox in rows]
    content = {"options": OPTIONS, "pictures": {"grey.png": expected}, **overrides}
    (folder / "expected.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def differences(folder: Path, *found: Row) -> list[str]:
    read = golden.read(folder)
    return list(golden.picture_differences(read, folder, "grey.png", pipeline(*found)))


def moved(row: Row, class_name: str | None = None, more: float = 0.0, right: float = 0.0) -> Row:
    left, top, far, bottom = row[2]
    return class_name or row[0], row[1] + more, (left + right, top, far + right, bottom)


def test_a_folder_that_is_not_there_checks_nothing(tmp_path: Path) -> None:
    golden.check(tmp_path / "golden", pipeline())


def test_the_boxes_that_were_blessed_pass(tmp_path: Path) -> None:
    folder = blessed(tmp_path / "golden", CAR, BUS)
    golden.check(folder, pipeline(BUS, CAR))
    assert differences(folder, moved(CAR, more=0.019), moved(BUS, more=-0.019, right=0.2)) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([BUS], "car 0.900 at [0.0, 0.0, 20.0, 20.0] is not found"),
        ([CAR, BUS, ("car", 0.8, (40, 0, 50, 10))], "car 0.800 at [40.0, 0.0, 50.0, 10.0] is found, too"),
        ([moved(CAR, "bus"), BUS], "car 0.900 at [0.0, 0.0, 20.0, 20.0] is found as bus 0.900"),
        ([moved(CAR, more=-0.03), BUS], "is found with confidence 0.870, the largest difference is 0.02"),
        ([moved(CAR, right=0.5), BUS], "is found at an overlap of 0.951, the least is 0.98"),
    ],
    ids=["missing", "too many", "another class", "another confidence", "another place"],
)
def test_other_boxes_are_told(tmp_path: Path, found: list[Row], said: str) -> None:
    folder = blessed(tmp_path / "golden", CAR, BUS)
    (told,) = differences(folder, *found)
    assert told.endswith(said)
    with pytest.raises(ModelInvalid) as caught:
        golden.check(folder, pipeline(*found))
    assert caught.value.message == f"{folder}: the version does not reproduce its golden pictures: grey.png: {told}"


def test_what_is_about_as_confident_as_the_threshold_may_come_and_go(tmp_path: Path) -> None:
    faint: Row = ("bus", 0.515, (30, 30, 60, 60))
    assert differences(blessed(tmp_path / "golden", CAR, faint), CAR) == []
    assert differences(blessed(tmp_path / "golden", CAR), CAR, faint) == []
    assert len(differences(blessed(tmp_path / "golden", CAR), CAR, BUS)) == 1


def test_of_two_boxes_in_one_place_that_of_the_same_class_is_meant(tmp_path: Path) -> None:
    both = (CAR, moved(CAR, "bus", more=-0.1))
    assert differences(blessed(tmp_path / "golden", *both), *reversed(both)) == []


def test_tolerances_can_be_widened(tmp_path: Path) -> None:
    folder = blessed(tmp_path / "golden", CAR, min_iou=0.9, max_confidence_difference=0.1)
    assert differences(folder, moved(CAR, more=-0.09, right=0.5)) == []
    assert len(differences(folder, moved(CAR, more=-0.11))) == 1


def test_only_the_first_differences_are_told(tmp_path: Path) -> None:
    rows = [("car", 0.9, (10.0 * index, 0.0, 10.0 * index + 9, 9.0)) for index in range(6)]
    folder = blessed(tmp_path / "golden", *rows)
    with pytest.raises(ModelInvalid) as caught:
        golden.check(folder, pipeline())
    assert caught.value.message.count("is not found") == 5
    assert caught.value.message.endswith("; and 1 more")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", ["the file"]),
        ("[]", ["the file"]),
        ("{}", ["options", "pictures"]),
        (json.dumps({"options": OPTIONS, "pictures": {}}), ["pictures"]),
        (json.dumps({"options": OPTIONS, "pictures": {"../x.png": []}}), ["pictures"]),
        (json.dumps({"options": OPTIONS, "pictures": {"x.png": []}, "min_iou": 0.1, "iou": 1}), ["min_iou", "iou"]),
        (
            json.dumps({"options": {}, "pictures": {"x.png": [{"class_name": "a", "confidence": 2, "bbox": [1]}]}}),
            ["options.max_detections", "pictures.x.png.0.confidence", "pictures.x.png.0.bbox"],
        ),
    ],
    ids=["empty", "a list", "nothing said", "no picture", "a path", "wrong tolerances", "wrong boxes"],
)
def test_wrong_expectations_are_refused_and_named(tmp_path: Path, content: str, named: list[str]) -> None:
    (tmp_path / "expected.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelInvalid) as caught:
        golden.check(tmp_path, pipeline())
    assert caught.value.message.startswith(f"{tmp_path / 'expected.json'}: ")
    assert [name for name in named if name not in caught.value.message] == []


def test_expectations_and_pictures_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"expected\.json: cannot be read: No such file"):
        golden.check(tmp_path, pipeline())
    folder = blessed(tmp_path / "golden", CAR)
    (folder / "grey.png").write_bytes(b"no picture")
    with pytest.raises(ModelInvalid, match=r"grey\.png: the bytes are"):
        golden.check(folder, pipeline())
    (folder / "grey.png").unlink()
    with pytest.raises(ModelInvalid, match=r"grey\.png: cannot be read: No such file"):
        golden.check(folder, pipeline())


def test_what_is_found_can_be_expected(tmp_path: Path) -> None:
    folder = blessed(tmp_path / "golden", CAR, BUS)
    expected = golden.read(folder)
    assert golden.Golden.model_validate_json(expected.model_dump_json()) == expected
    assert golden.GoldenOptions.of(DetectOptions(confidence_threshold=0.5)) == expected.options
