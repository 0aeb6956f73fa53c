from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from detector_grpc.bench.percentiles import Percentiles, interval, nearest_rank

DURATIONS = st.lists(st.floats(0, 1e3), min_size=1, max_size=500)
SHARES = st.sampled_from([0.5, 0.9, 0.99, 0.999])


@given(DURATIONS, SHARES)
def test_a_percentile_is_the_smallest_value_that_enough_values_do_not_exceed(values: list[float], share: float) -> None:
    ordered = np.sort(values)
    percentile = nearest_rank(ordered, share)
    assert percentile in values
    assert (ordered <= percentile).mean() >= share - 1e-12
    assert (ordered < percentile).mean() < share


@given(st.integers(1, 5000), SHARES)
def test_an_interval_ends_where_the_binomial_distribution_says(count: int, share: float) -> None:
    low, high = interval(np.arange(1.0, count + 1), share)
    # That many values are below the true percentile, in 95 of 100 samples.
    below = stats.binom(count, share)
    if low is None:
        assert below.cdf(0) > 0.025
    else:
        assert below.cdf(low - 1) <= 0.025 + 1e-9 < below.cdf(low) + 1e-9
    if high is None:
        assert below.sf(count - 1) > 0.025
    else:
        assert below.sf(high - 1) <= 0.025 + 1e-9 < below.sf(high - 2) + 1e-9


def test_ninety_five_of_a_hundred_intervals_hold_the_true_percentile() -> None:
    draws = np.random.default_rng(0)
    truth = -np.log(0.01)
    held = 0
    for _ in range(2000):
        low, high = interval(np.sort(draws.exponential(size=1000)), 0.99)
        assert low is not None
        assert high is not None
        held += low <= truth <= high
    assert held >= 0.95 * 2000


@given(DURATIONS)
def test_percentiles_are_in_milliseconds_and_in_order(values_s: list[float]) -> None:
    of = Percentiles.of(values_s)
    assert of is not None
    assert of.count == len(values_s)
    assert of.p50_ms <= of.p90_ms <= of.p99_ms <= of.p99_9_ms <= of.max_ms == max(values_s) * 1e3


def test_nothing_has_no_percentiles() -> None:
    assert Percentiles.of([]) is None
