from __future__ import annotations

import numpy as np
import pytest

from detector_grpc.drift.features import NAMES
from detector_grpc.drift.observation import Observation, observe
from detector_grpc.vision.detections import Detections
from detector_grpc.vision.sample import sample

IMAGE = np.full((100, 200, 3), 80, np.uint8)


def seen(detections: Detections) -> Observation:
    return observe(sample(IMAGE), (200, 100), detections, ("person", "dog"), "hall")


def found(xyxy: list[list[float]], confidence: list[float], class_id: list[int]) -> Detections:
    boxes = np.array(xyxy, np.float32), np.array(confidence, np.float32), np.array(class_id, np.int32)
    return Detections(*boxes)


def numbers(of: Observation) -> dict[str, float]:
    return dict(zip(NAMES, of.values.tolist(), strict=True))


def test_boxes_are_told_in_shares_of_the_picture() -> None:
    of = seen(found([[0, 0, 100, 50], [100, 50, 200, 100]], [0.9, 0.5], [0, 1]))

    told = numbers(of)
    assert told["detections"] == 2
    assert told["confidence"] == pytest.approx(0.7)
    assert told["confidence_spread"] == pytest.approx(0.2)
    assert told["uncertain"] == 0.5
    assert told["box_size"] == pytest.approx(0.5)
    assert (told["box_x"], told["box_y"]) == pytest.approx((0.5, 0.5))
    assert of.classes == {"person": 1, "dog": 1}
    assert of.group == "hall"


def test_a_picture_has_a_size_and_a_shape() -> None:
    told = numbers(seen(Detections.empty()))

    assert told["aspect"] == 2
    assert told["size"] == pytest.approx(20000**0.5)
    assert told["brightness"] == 80


def test_of_no_boxes_there_is_only_their_number() -> None:
    of = seen(Detections.empty())

    assert {name for name, number in numbers(of).items() if np.isnan(number) and "edge" not in name} == {
        "confidence",
        "confidence_spread",
        "uncertain",
        "box_size",
        "box_x",
        "box_y",
        # of a picture of this size there is no detail without edges
    }
    assert numbers(of)["detections"] == 0
    assert not of.classes


def test_one_box_has_no_spread() -> None:
    assert np.isnan(numbers(seen(found([[0, 0, 10, 10]], [0.9], [0])))["confidence_spread"])
