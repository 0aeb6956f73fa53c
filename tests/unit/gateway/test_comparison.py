"""What counters of copies say about two versions."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from detector_grpc.gateway.comparison import Interval, comparisons, mean, ratio, wilson
from detector_grpc.interceptors.shadow import Shadow, ShadowLimits
from detector_grpc.vision.agreement import Labelled, compare

RNG = np.random.default_rng(7)
WANTED = 0.95


def test_wilson_has_the_values_of_the_books() -> None:
    found = wilson(81, 263)  # Newcombe 1998, table I, method 3
    assert found.value == pytest.approx(81 / 263)
    assert (found.low, found.high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert wilson(0, 0).low == 0


@pytest.mark.parametrize("agreement", [0.7, 0.95])
def test_intervals_of_ratios_and_means_hold_the_truth_as_often_as_they_say(agreement: float) -> None:
    held_ratio = held_mean = 0
    tries, pictures = 400, 200
    for _ in range(tries):
        n = RNG.poisson(4, pictures)
        # Boxes of one picture are alike: all agree, or each by chance.
        a = np.where(RNG.random(pictures) < agreement / 2, n, RNG.binomial(n, agreement / (2 - agreement)))
        share = ratio(a.sum(), n.sum(), (a * a).sum(), (a * n).sum(), (n * n).sum(), pictures)
        held_ratio += share.low <= agreement <= share.high
        later = RNG.normal(0.002, 0.01, pictures)
        held_mean += (found := mean(later.sum(), (later**2).sum(), pictures)).low <= 0.002 <= found.high
    assert 0.91 < held_ratio / tries < 0.98
    assert 0.91 < held_mean / tries < 0.98


def test_nothing_is_known_without_pictures() -> None:
    assert math.isnan(ratio(0, 0, 0, 0, 0, 0).value)
    assert mean(0, 0, 0) == Interval(pytest.approx(math.nan, nan_ok=True), -math.inf, math.inf)


class TestComparison:
    """Counters as the servers have them."""

    @pytest.fixture
    def collectors(self) -> CollectorRegistry:
        return CollectorRegistry()

    @pytest.fixture
    def shadow(self, collectors: CollectorRegistry) -> Shadow:
        return Shadow(None, ShadowLimits(1, 1, 1), collectors)  # type: ignore[arg-type]

    def test_a_text_without_copies_has_none(self, shadow: Shadow, collectors: CollectorRegistry) -> None:
        assert shadow is not None
        assert comparisons(generate_latest(collectors).decode()) == []

    @pytest.mark.parametrize(
        ("same", "slower_s", "verdict"),
        [
            (1.0, 0.01, "v2 sees what v1 sees, and is slower"),
            (0.5, -0.01, "v2 sees something else than v1, and is faster"),
            (0.96, 0.0, "more pictures are needed to tell whether v2 sees what v1 sees, as fast as far as can be told"),
        ],
    )
    def test_pictures_are_judged(
        self, shadow: Shadow, collectors: CollectorRegistry, same: float, slower_s: float, verdict: str
    ) -> None:
        labels = ("m", "v1", "v2")
        for number in range(100):
            agrees = number < same * 100
            one = np.array([[0, 0, 10, 10]], np.float32)
            jitter = 0.001 * (-1) ** number
            found = compare(_labelled(one), _labelled(one if agrees else one + 50))
            shadow._count(labels, found, 0.02, 0.02 + slower_s + jitter)
            shadow._copies.labels(*labels, "compared").inc()
        (found,) = comparisons(generate_latest(collectors).decode())
        assert (found.model, found.version, found.shadow) == labels
        assert (found.selected, found.compared) == (100, 100)
        agreed = round(100 * same)
        assert found.boxes == {"agree": agreed, "class_differs": 0, "missed": 100 - agreed, "extra": 100 - agreed}
        assert found.same_pictures.value == pytest.approx(same)
        assert found.same_boxes.value == pytest.approx(agreed / (200 - agreed))
        assert found.slower_s.value == pytest.approx(slower_s, abs=1e-6)
        assert found.verdict(WANTED if same < 0.96 or same == 1 else 0.93) == verdict
        json.dumps(found.to_dict(), allow_nan=False)

    def test_pictures_without_boxes_say_nothing(self, shadow: Shadow, collectors: CollectorRegistry) -> None:
        one = _labelled(np.array([[0, 0, 10, 10]], np.float32))
        for seen in [_labelled(np.empty((0, 4), np.float32))] * 29 + [one]:
            shadow._count(("m", "v1", "v2"), compare(seen, seen), 0.02, 0.02)
            shadow._copies.labels("m", "v1", "v2", "compared").inc()
        (found,) = comparisons(generate_latest(collectors).decode())
        assert found.verdict(WANTED) == "too few pictures with boxes to tell: as good as 1, 30 are needed"
        assert found.same_boxes.low < 0.5

    def test_few_pictures_are_not_judged(self, shadow: Shadow, collectors: CollectorRegistry) -> None:
        shadow._copies.labels("m", "v1", "v2", "dropped").inc(5)
        (found,) = comparisons(generate_latest(collectors).decode())
        assert found.verdict(WANTED) == "too few pictures to tell: 0, at least 30 are needed"
        json.dumps(found.to_dict(), allow_nan=False)


def _labelled(xyxy: np.ndarray) -> Labelled:
    return Labelled(xyxy, ["a"] * len(xyxy))
