"""Suppression against the same rule written as plain loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from detector_grpc.vision.detections import Detections
from detector_grpc.vision.nms import MAX_CANDIDATES, suppress

if TYPE_CHECKING:
    from collections.abc import Sequence

Box = list[float]
MANY = 100_000


def detections(
    rows: Sequence[Sequence[float]], confidence: Sequence[float], class_id: Sequence[int] | None = None
) -> Detections:
    return Detections(
        np.array(rows, np.float32).reshape(-1, 4),
        np.array(confidence, np.float32),
        np.array(class_id if class_id is not None else [0] * len(confidence), np.int32),
    )


def iou(a: Box, b: Box) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def reference(candidates: Detections, threshold: float, *, class_agnostic: bool) -> list[int]:
    """Indices of the boxes that stay, most confident first."""
    kept: list[int] = []
    boxes = candidates.xyxy.tolist()
    for index in np.argsort(-candidates.confidence, kind="stable").tolist():
        rivals = [other for other in kept if class_agnostic or candidates.class_id[other] == candidates.class_id[index]]
        if all(iou(boxes[index], boxes[other]) <= threshold for other in rivals):
            kept.append(index)
    return kept


def crowd(seed: int, count: int, classes: int, at: float = 0) -> Detections:
    """Boxes that overlap a lot, their corners whole numbers, their confidences all different."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 60, (count, 2)) + at
    size = rng.integers(8, 40, (count, 2))
    confidence = (rng.permutation(count) + 1) / (count + 1)
    return detections(np.hstack([corner, corner + size]), confidence, rng.integers(0, classes, count))


@pytest.mark.parametrize("class_agnostic", [False, True], ids=["by class", "agnostic"])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.45, 0.7, 1.0])
def test_suppression_agrees_with_plain_loops(threshold: float, *, class_agnostic: bool) -> None:
    for seed in range(10):
        for at in (0, -1000, 3000):
            candidates = crowd(seed, 80, 4, at)
            kept = suppress(candidates, threshold, class_agnostic=class_agnostic, max_detections=MANY)
            expected = candidates.take(np.array(reference(candidates, threshold, class_agnostic=class_agnostic)))
            np.testing.assert_array_equal(kept.xyxy, expected.xyxy)
            np.testing.assert_array_equal(kept.confidence, expected.confidence)
            np.testing.assert_array_equal(kept.class_id, expected.class_id)


SAME = ([0, 0, 10, 10], [0, 0, 10, 10])


@pytest.mark.parametrize("class_id", [1, 79, 9999])
def test_boxes_of_different_classes_compete_only_when_asked_to(class_id: int) -> None:
    candidates = detections(SAME, [0.8, 0.9], [0, class_id])
    assert suppress(candidates, 0.5, class_agnostic=False, max_detections=MANY).class_id.tolist() == [class_id, 0]
    assert suppress(candidates, 0.5, class_agnostic=True, max_detections=MANY).class_id.tolist() == [class_id]


def test_boxes_with_negative_coordinates_stay_in_their_class() -> None:
    candidates = detections([[-10, -10, 0, 0], [-10, -10, 0, 0], [-9, -10, 1, 0]], [0.9, 0.8, 0.7], [0, 1, 0])
    kept = suppress(candidates, 0.5, class_agnostic=False, max_detections=MANY)
    assert kept.confidence.tolist() == pytest.approx([0.9, 0.8])


def test_an_overlap_of_exactly_the_threshold_stays() -> None:
    half = detections([[0, 0, 10, 10], [0, 0, 10, 5]], [0.9, 0.8])
    assert len(suppress(half, 0.5, class_agnostic=False, max_detections=MANY)) == 2
    assert len(suppress(half, 0.49, class_agnostic=False, max_detections=MANY)) == 1


def test_a_box_that_went_suppresses_nobody() -> None:
    # The second goes by the first, the third overlaps only the second.
    chain = detections([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], [0.9, 0.8, 0.7])
    assert suppress(chain, 0.3, class_agnostic=False, max_detections=MANY).confidence.tolist() == pytest.approx(
        [0.9, 0.7]
    )


def test_the_most_confident_come_first_and_the_rest_is_cut() -> None:
    apart = detections([[i * 20, 0, i * 20 + 10, 10] for i in range(5)], [0.3, 0.9, 0.1, 0.7, 0.5], [0, 1, 2, 3, 4])
    kept = suppress(apart, 0.5, class_agnostic=False, max_detections=3)
    assert kept.class_id.tolist() == [1, 3, 4]
    assert kept.xyxy[:, 0].tolist() == [20, 60, 80]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_boxes_of_confidence_zero_are_left_out_however_many_there_are(count: int) -> None:
    candidates = detections([[i * 20, 0, i * 20 + 10, 10] for i in range(count)], [0.0] * count)
    assert len(suppress(candidates, 0.5, class_agnostic=False, max_detections=MANY)) == 0


def test_one_box_stays() -> None:
    kept = suppress(detections([[1, 2, 3, 4]], [0.5], [7]), 0.5, class_agnostic=False, max_detections=MANY)
    assert kept.xyxy.tolist() == [[1, 2, 3, 4]]
    assert kept.class_id.tolist() == [7]


def test_no_boxes_give_no_boxes() -> None:
    kept = suppress(Detections.empty(), 0.5, class_agnostic=False, max_detections=MANY)
    assert len(kept) == 0
    assert kept.xyxy.shape == (0, 4)


def test_only_the_most_confident_candidates_are_compared() -> None:
    count = MAX_CANDIDATES + 500
    corner = np.stack([np.arange(count) % 100, np.arange(count) // 100], axis=1) * 10
    confidence = np.random.default_rng(0).permutation(count) / count
    candidates = detections(np.hstack([corner, corner + 5]), confidence)
    kept = suppress(candidates, 0.5, class_agnostic=False, max_detections=MANY)
    np.testing.assert_array_equal(kept.confidence, np.sort(candidates.confidence)[::-1][:MAX_CANDIDATES])


def test_the_candidates_are_not_changed() -> None:
    candidates = crowd(0, 50, 3, at=-20)
    before = candidates.xyxy.copy()
    suppress(candidates, 0.5, class_agnostic=False, max_detections=MANY)
    np.testing.assert_array_equal(candidates.xyxy, before)
