from __future__ import annotations

import numpy as np
import pytest

from detector_grpc.evaluation.reference import ClassMatches
from detector_grpc.evaluation.thresholds import best_threshold


def matches(*rows: tuple[float, str], boxes: int) -> ClassMatches:
    """Detections by confidence, most confident first, each "true", "false" or "ignored"."""
    kinds = np.array([kind for _, kind in rows])
    return ClassMatches(
        confidence=np.array([confidence for confidence, _ in rows], np.float32),
        picture=np.zeros(len(rows), np.intp),
        is_true=np.tile(kinds == "true", (10, 1)),
        is_ignored=np.tile(kinds == "ignored", (10, 1)),
        boxes=np.array([boxes]),
    )


def test_the_threshold_lies_in_the_middle_between_the_last_true_and_the_first_false_one() -> None:
    best = best_threshold(matches((0.9, "true"), (0.8, "true"), (0.4, "false"), boxes=2), 0.001)
    assert best is not None
    assert best.confidence_threshold == pytest.approx(0.6, abs=0.002)
    assert (best.precision, best.recall, best.f1) == (1, 1, 1)


def test_a_false_one_is_worth_having_where_it_brings_enough_true_ones() -> None:
    rows = [(0.9, "true"), (0.8, "false"), (0.7, "true"), (0.6, "true"), (0.5, "false"), (0.4, "false")]
    best = best_threshold(matches(*rows, boxes=4), 0.001)
    assert best is not None
    assert 0.5 < best.confidence_threshold <= 0.6
    assert (best.precision, best.recall) == (0.75, 0.75)
    assert best.f1 == pytest.approx(0.75)


def test_precision_and_recall_are_those_of_the_threshold_as_it_is_told() -> None:
    # Between .5006 and .5004 there is no threshold of three digits: both are in, or both are out.
    best = best_threshold(matches((0.5006, "true"), (0.5004, "false"), boxes=1), 0.001)
    assert best is not None
    assert best.confidence_threshold <= 0.5
    assert best.precision == 0.5


def test_a_confidence_of_just_the_threshold_is_in() -> None:
    best = best_threshold(matches((0.7, "true"), (0.699, "false"), boxes=1), 0.001)
    assert best is not None
    assert (best.confidence_threshold, best.f1) == (0.7, 1)


def test_ignored_ones_do_not_count() -> None:
    best = best_threshold(matches((0.9, "ignored"), (0.8, "true"), (0.7, "ignored"), boxes=1), 0.001)
    assert best is not None
    assert (best.precision, best.recall) == (1, 1)


def test_no_threshold_is_below_what_was_looked_at() -> None:
    best = best_threshold(matches((0.35, "true"), boxes=1), 0.3)
    assert best is not None
    assert 0.3 <= best.confidence_threshold <= 0.35
    lowest = best_threshold(matches((0.3006, "true"), boxes=1), 0.3001)
    assert lowest is None or lowest.confidence_threshold > 0.3


@pytest.mark.parametrize("rows", [(), ((0.9, "false"),), ((0.9, "ignored"),)])
def test_where_nothing_true_is_found_there_is_no_threshold(rows: tuple[tuple[float, str], ...]) -> None:
    assert best_threshold(matches(*rows, boxes=1), 0.001) is None
