"""Distances are those of the textbooks, whatever the numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance

from detector_grpc.drift.distances import Pool, jensen_shannon, spread

numbers = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40).map(np.array)
mixes = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 1000), min_size=1).filter(
    lambda mix: any(mix.values())
)


@given(numbers, numbers)
def test_wasserstein_is_that_of_scipy(reference: np.ndarray, current: np.ndarray) -> None:
    expected = stats.wasserstein_distance(reference, current)

    assert Pool(reference).wasserstein(current) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@given(st.lists(numbers, min_size=2, max_size=6))
def test_each_part_is_compared_with_all_the_others(parts: list[np.ndarray]) -> None:
    expected = [
        Pool(np.concatenate([*parts[:number], *parts[number + 1 :]])).wasserstein(part)
        for number, part in enumerate(parts)
    ]

    assert spread(parts).distances == pytest.approx(expected, rel=1e-6, abs=1e-5)


@given(mixes, mixes)
def test_jensen_shannon_is_that_of_scipy(one: dict[str, int], other: dict[str, int]) -> None:
    names = sorted({*one, *other})
    expected = distance.jensenshannon(*([mix.get(name, 0) for name in names] for mix in (one, other)), base=2)

    assert jensen_shannon(one, other) == pytest.approx(expected, abs=1e-6)
    assert jensen_shannon(one, other) == jensen_shannon(other, one)
    assert jensen_shannon(one, one) == 0
