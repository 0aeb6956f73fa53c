"""Each head against the same rule written as plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detector_grpc.vision.boxes import cxcywh_to_xyxy
from detector_grpc.vision.heads import HEADS, HeadName, cxcywh, xyxy

Row = tuple[float, float, float, float, float, int]  # x_min, y_min, x_max, y_max, confidence, class_id


def reference(output: np.ndarray, thresholds: np.ndarray, head: str, *, multi_label: bool) -> set[Row]:
    rows: set[Row] = set()
    for column in output.T:
        box, scores = column[:4], column[4:]
        if head == "cxcywh":
            x, y, width, height = (np.float32(each) for each in box)
            box = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2], np.float32)
        if not all(math.isfinite(side) for side in box):
            continue
        classes = range(len(scores)) if multi_label else [max(range(len(scores)), key=lambda c: scores[c])]
        rows |= {
            (*map(float, box), float(scores[class_id]), class_id)
            for class_id in classes
            if scores[class_id] >= thresholds[class_id]
        }
    return rows


def found(output: np.ndarray, thresholds: np.ndarray, head: HeadName, *, multi_label: bool) -> list[Row]:
    candidates = HEADS[head](output, thresholds, multi_label=multi_label)
    assert candidates.xyxy.dtype == np.float32
    assert candidates.confidence.dtype == np.float32
    assert candidates.class_id.dtype == np.int32
    assert candidates.xyxy.shape == (len(candidates), 4)
    return [
        (*box, confidence, class_id)
        for box, confidence, class_id in zip(
            candidates.xyxy.tolist(), candidates.confidence.tolist(), candidates.class_id.tolist(), strict=True
        )
    ]


def random_output(seed: int, classes: int, columns: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.vstack([rng.uniform(1, 640, (4, columns)), rng.uniform(0, 1, (classes, columns))]).astype(np.float32)


@pytest.mark.parametrize("multi_label", [False, True], ids=["best class", "every class"])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("classes", [1, 2, 7])
def test_head_agrees_with_plain_loops(head: HeadName, classes: int, *, multi_label: bool) -> None:
    for seed in range(5):
        output = random_output(seed, classes, 200)
        thresholds = np.random.default_rng(seed).uniform(0.2, 0.95, classes).astype(np.float32)
        if classes > 1:
            thresholds[seed % classes] = np.inf
        actual = found(output, thresholds, head, multi_label=multi_label)
        expected = reference(output, thresholds, head, multi_label=multi_label)
        assert expected
        assert len(actual) == len(expected)
        assert set(actual) == expected


def one(*column: float) -> np.ndarray:
    return np.array([column], np.float32).T


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_score_at_the_threshold_counts_and_one_below_does_not(*, multi_label: bool) -> None:
    threshold = np.array([0.5], np.float32)
    assert len(xyxy(one(1, 2, 3, 4, 0.5), threshold, multi_label=multi_label)) == 1
    below = np.nextafter(np.float32(0.5), np.float32(0))
    assert len(xyxy(one(1, 2, 3, 4, below), threshold, multi_label=multi_label)) == 0


@pytest.mark.parametrize("multi_label", [False, True])
def test_each_class_has_its_own_threshold(*, multi_label: bool) -> None:
    thresholds = np.array([0.9, 0.1], np.float32)
    output = np.array([[0, 0, 10, 10, 0.8, 0.0], [0, 0, 20, 20, 0.0, 0.2]], np.float32).T
    assert found(output, thresholds, "xyxy", multi_label=multi_label) == [(0.0, 0.0, 20.0, 20.0, pytest.approx(0.2), 1)]


def test_a_class_that_is_not_wanted_is_never_returned() -> None:
    output = one(0, 0, 10, 10, 1.0, 0.6)
    thresholds = np.array([np.inf, 0.5], np.float32)
    assert found(output, thresholds, "xyxy", multi_label=True) == [(0.0, 0.0, 10.0, 10.0, pytest.approx(0.6), 1)]
    assert found(output, thresholds, "xyxy", multi_label=False) == []  # its best class is another


def test_no_wanted_class_gives_no_boxes() -> None:
    for head in HEADS.values():
        for multi_label in (False, True):
            found_none = head(random_output(0, 3, 50), np.full(3, np.inf, np.float32), multi_label=multi_label)
            assert len(found_none) == 0
            assert found_none.xyxy.shape == (0, 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_box_that_is_not_finite_is_left_out(head: HeadName, place: int, bad: float) -> None:
    output = random_output(0, 2, 3)
    output[place, 1] = bad
    kept = HEADS[head](output, np.zeros(2, np.float32), multi_label=False)
    whole = HEADS[head](output[:, [0, 2]], np.zeros(2, np.float32), multi_label=False)
    np.testing.assert_array_equal(kept.xyxy, whole.xyxy)
    np.testing.assert_array_equal(kept.confidence, whole.confidence)
    np.testing.assert_array_equal(kept.class_id, whole.class_id)


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_score_that_is_no_number_is_left_out(*, multi_label: bool) -> None:
    assert len(xyxy(one(0, 0, 1, 1, np.nan), np.zeros(1, np.float32), multi_label=multi_label)) == 0


@pytest.mark.parametrize("head", HEADS.values())
def test_heads_do_not_change_or_keep_the_output(head: object) -> None:
    assert callable(head)
    output = random_output(0, 2, 20)
    before = output.copy()
    kept = head(output, np.zeros(2, np.float32), multi_label=False)
    np.testing.assert_array_equal(output, before)
    assert not np.shares_memory(kept.xyxy, output)
    assert not np.shares_memory(kept.confidence, output)


def test_centre_and_size_become_corners() -> None:
    box = cxcywh(one(100, 50, 20, 10, 1), np.zeros(1, np.float32), multi_label=False).xyxy
    np.testing.assert_array_equal(box, [[90, 45, 110, 55]])
    np.testing.assert_array_equal(
        cxcywh_to_xyxy(np.array([[100, 50, 20, 10], [0, 0, 1, 3]], np.float32)),
        [[90, 45, 110, 55], [-0.5, -1.5, 0.5, 1.5]],
    )
