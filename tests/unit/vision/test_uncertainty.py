"""What each measure says of candidates whose boxes and scores are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detector_grpc.vision.detections import Detections
from detector_grpc.vision.heads.head import FLOOR, Candidates
from detector_grpc.vision.uncertainty import DEFAULT_MEASURES, MEASURES, MOST_CANDIDATES, Measures, Uncertainty

T = 0.25
CLASSES = 3
THRESHOLDS = np.full(CLASSES, T, np.float32)
EVERY_MEASURE = pytest.mark.parametrize("name", MEASURES)


def seen(*boxes: tuple[float, float, float, float, float, int], seconds: float | None = 0.0) -> Candidates:
    """Boxes x_min, y_min, x_max, y_max, confidence, class; each with the second best class at this share of it."""
    rows = np.array(boxes, np.float32).reshape(-1, 6)
    found = Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32))
    scores = None
    if seconds is not None:
        scores = np.zeros((CLASSES, len(rows)), np.float32)
        for place, (confidence, class_id) in enumerate(zip(rows[:, 4], found.class_id, strict=True)):
            scores[:, place] = 0
            scores[(class_id + 1) % CLASSES, place] = confidence * seconds
            scores[class_id, place] = confidence
    return Candidates(found, np.arange(len(rows)), scores)


def apart(*confidences: float, seconds: float | None = 0.0) -> Candidates:
    """Objects that do not touch one another."""
    return seen(*((i * 100, 0, i * 100 + 50, 50, p, 0) for i, p in enumerate(confidences)), seconds=seconds)


def measured(name: str, candidates: Candidates, thresholds: np.ndarray = THRESHOLDS) -> float:
    return Measures({name: 1.0})(candidates, thresholds).score


@EVERY_MEASURE
def test_of_nothing_a_model_is_sure(name: str) -> None:
    assert Measures({name: 1.0})(apart(), THRESHOLDS) == Uncertainty(0.0, "", {name: 0.0})
    assert measured(name, apart(FLOOR - 0.001)) == 0.0


@EVERY_MEASURE
def test_every_measure_is_a_share_whatever_was_seen(name: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        number = int(rng.integers(1, 100))
        corners = rng.uniform(0, 300, (number, 2))
        boxes = np.hstack(
            [
                corners,
                corners + rng.uniform(0, 100, (number, 2)),
                rng.uniform(0, 1, (number, 1)),
                rng.integers(0, CLASSES, (number, 1)),
            ]
        )
        thresholds = rng.choice([0.0, 0.01, 0.3, 1.0, np.inf], CLASSES).astype(np.float32)
        value = measured(name, seen(*map(tuple, boxes), seconds=float(rng.uniform(0, 1))), thresholds)
        assert 0 <= value <= 1


@pytest.mark.parametrize("name", [name for name in MEASURES if name not in {"margin", "localisation"}])
def test_what_is_too_doubtful_to_be_answered_is_more_than_nothing(name: str) -> None:
    assert measured(name, apart(T - 0.01)) > measured(name, apart(FLOOR)) > measured(name, apart())


def test_the_least_sure_object_counts_as_far_as_something_speaks_for_it() -> None:
    assert measured("least_confidence", apart(0.9, 0.6, 0.8)) == pytest.approx(0.4)
    assert measured("least_confidence", apart(T)) == pytest.approx(1 - T)
    assert measured("least_confidence", apart(T / 2)) == pytest.approx((1 - T) / 2)


def test_the_margin_is_how_near_the_second_class_comes() -> None:
    assert measured("margin", apart(0.8, seconds=0.5)) == pytest.approx(0.5)
    assert measured("margin", apart(T / 2, seconds=0.5)) == pytest.approx(0.25)
    assert measured("margin", apart(0.8, seconds=None)) == 0.0


def test_the_entropy_is_that_of_a_coin() -> None:
    assert measured("entropy", apart(0.5)) == pytest.approx(1.0)
    assert measured("entropy", apart(0.5, 0.25)) == pytest.approx((1 + 0.8112781) / 2)


def test_boxes_that_lie_apart_are_unsure_of_the_place() -> None:
    alike = seen((0, 0, 100, 100, 0.9, 0), (0, 0, 100, 100, 0.5, 0))
    assert measured("localisation", alike) == pytest.approx(0.0)
    apart_by_a_quarter = seen((0, 0, 100, 100, 0.9, 0), (0, 0, 100, 75, 0.5, 0))
    assert measured("localisation", apart_by_a_quarter) == pytest.approx(0.5)
    alone = seen((0, 0, 100, 100, 0.9, 0))
    assert measured("localisation", alone) == 0.0


def test_objects_near_the_threshold_are_counted() -> None:
    assert measured("near_threshold", apart(T)) == pytest.approx(1 / 2)
    assert measured("near_threshold", apart(T, T, T)) == pytest.approx(3 / 4)
    assert measured("near_threshold", apart(1.0)) == 0.0


def test_the_expected_error_is_the_share_that_is_expected_to_be_wrong() -> None:
    assert measured("expected_error", apart(0.65)) == pytest.approx(0.35)
    assert measured("expected_error", apart(1.0, 0.5)) == pytest.approx(0.25)
    # One is answered and 0.8 times right, and 0.1 times another was missed.
    assert measured("expected_error", apart(0.8, 0.1)) == pytest.approx(1 - 0.8 / 1.1)
    # Nothing is answered: wrong unless neither is there.
    assert measured("expected_error", apart(0.2, 0.1)) == pytest.approx(1 - 0.8 * 0.9)


@EVERY_MEASURE
def test_several_boxes_of_one_object_are_one_object_of_whatever_class(name: str) -> None:
    if name == "localisation":
        return
    one = apart(0.6, seconds=0.2)
    several = seen(
        (0, 0, 50, 50, 0.6, 0), (0, 0, 50, 49, 0.5, 0), (0, 0, 49, 50, 0.4, 1), (1, 0, 50, 50, 0.1, 0), seconds=0.2
    )
    assert measured(name, several) == pytest.approx(measured(name, one))


@EVERY_MEASURE
def test_classes_that_nobody_wants_do_not_count(name: str) -> None:
    thresholds = np.array([T, np.inf, T], np.float32)
    both = seen((0, 0, 50, 50, 0.6, 0), (100, 0, 150, 50, 0.2, 1))
    assert measured(name, both, thresholds) == measured(name, seen((0, 0, 50, 50, 0.6, 0)))


@EVERY_MEASURE
def test_the_order_of_the_boxes_does_not_matter(name: str) -> None:
    rng = np.random.default_rng(1)
    boxes = [(i * 60.0, 0.0, i * 60.0 + 50 + (i % 3), 50.0, 0.05 + i / 50, i % CLASSES) for i in range(40)]
    shuffled = [boxes[i] for i in rng.permutation(len(boxes))]
    assert measured(name, seen(*shuffled, seconds=0.3)) == pytest.approx(measured(name, seen(*boxes, seconds=0.3)))


def test_of_very_many_boxes_the_most_confident_count() -> None:
    many = [0.9] * MOST_CANDIDATES
    assert measured("least_confidence", apart(*many, 0.3)) == measured("least_confidence", apart(*many))


def test_the_largest_weighted_measure_drives_the_score() -> None:
    found = apart(0.6, seconds=0.5)  # least_confidence 0.4, margin 0.5
    both = Measures({"least_confidence": 1.0, "margin": 1.0})(found, THRESHOLDS)
    assert both == Uncertainty(pytest.approx(0.5), "margin", pytest.approx({"least_confidence": 0.4, "margin": 0.5}))
    weighted = Measures.of(["least_confidence", "margin:0.5"])(found, THRESHOLDS)
    assert (weighted.driver, weighted.score) == ("least_confidence", pytest.approx(0.4))
    assert weighted.measures["margin"] == pytest.approx(0.5)


@pytest.mark.parametrize("word", ["sureness", "", "margin:0", "margin:1.5", "margin:nan", "margin:much"])
def test_a_measure_that_is_none_is_refused_by_name(word: str) -> None:
    with pytest.raises(ValueError, match=r"least_confidence|margin"):
        Measures.of([word])


def test_the_default_is_sure_of_a_certain_object_and_unsure_of_a_doubtful_one() -> None:
    sure, doubtful = (DEFAULT_MEASURES(apart(p), THRESHOLDS).score for p in (0.99, 0.3))
    assert sure < 0.3 < doubtful
    assert not math.isnan(sure)
