"""Ratios of what was measured in turns, and how sure they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detector_grpc.evaluation.bootstrap import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

RESAMPLES = 5_000


class Estimate(NamedTuple):
    """A median, and where it would lie in 95 of 100 repetitions."""

    median: float
    interval: Interval

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.interval.low:.3g} to {self.interval.high:.3g})"


def median_of(values: Sequence[float]) -> Estimate:
    """The median over rounds, with the interval that drawing the rounds again gives (Efron 1979)."""
    rounds = np.asarray(values)
    drawn = np.random.default_rng(0).choice(rounds, (RESAMPLES, len(rounds)))
    return Estimate(float(np.median(rounds)), Interval.of(np.median(drawn, axis=1)))


def ratio_of(values: Sequence[float], base: Sequence[float]) -> Estimate:
    """The median of the ratios of the same rounds: what slows the machine for some rounds slows both sides of each."""
    return median_of([value / other for value, other in zip(values, base, strict=True)])
