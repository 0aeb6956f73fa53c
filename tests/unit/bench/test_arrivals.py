from __future__ import annotations

import numpy as np
from scipy import stats

from detector_grpc.bench.arrivals import phases, poisson


def test_gaps_between_calls_are_exponential_with_the_mean_of_the_rate() -> None:
    gaps = np.diff(poisson(50, 200, seed=1))
    assert stats.kstest(gaps, stats.expon(scale=1 / 50).cdf).pvalue > 0.05


def test_numbers_of_calls_in_a_second_vary_as_much_as_their_mean() -> None:
    counts = np.histogram(poisson(50, 400, seed=2), bins=400, range=(0, 400))[0]
    assert 0.8 < counts.var() / counts.mean() < 1.25


def test_calls_are_in_order_and_within_the_time() -> None:
    at_s = poisson(1000, 3, seed=3)
    assert (np.diff(at_s) >= 0).all()
    assert 0 <= at_s[0] < at_s[-1] < 3
    assert abs(len(at_s) - 3000) < 5 * 3000**0.5


def test_the_same_seed_gives_the_same_calls_and_another_one_others() -> None:
    assert (poisson(50, 10, seed=4) == poisson(50, 10, seed=4)).all()
    assert not np.array_equal(poisson(50, 10, seed=4), poisson(50, 10, seed=5))
    assert (phases(8, 10, seed=4) == phases(8, 10, seed=4)).all()
    assert len(set(phases(8, 10, seed=4))) == 8


def test_phases_lie_within_the_time_of_one_picture() -> None:
    of_many = phases(1000, 4, seed=1)
    assert 0 <= of_many.min() < 0.01
    assert 0.24 < of_many.max() < 0.25
