"""Percentiles by nearest rank: each is a value that was measured, none lies between two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CONFIDENCE_LEVEL = 0.95

# A hair, or 0.99 of 100 values would be the hundredth by the error of a float.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Percentiles:
    """Of durations, in milliseconds.

    Attributes:
        count: How many there are.
        mean_ms: Their mean.
        p50_ms: Half of them are not above this; the others likewise.
        p90_ms: As above.
        p99_ms: As above.
        p99_low_ms: Where the 95 % interval of `p99_ms` begins; None where there are too few values to tell.
        p99_high_ms: Where it ends; None where there are too few values to tell.
        p99_9_ms: As above.
        max_ms: The longest.
    """

    count: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p99_low_ms: float | None
    p99_high_ms: float | None
    p99_9_ms: float
    max_ms: float

    @classmethod
    def of(cls, values_s: Sequence[float]) -> Percentiles | None:
        """Those of these durations in seconds; None without any."""
        if not len(values_s):
            return None
        ordered = np.sort(np.asarray(values_s)) * 1e3
        low, high = interval(ordered, 0.99)
        return cls(
            count=len(ordered),
            mean_ms=float(ordered.mean()),
            p50_ms=nearest_rank(ordered, 0.5),
            p90_ms=nearest_rank(ordered, 0.9),
            p99_ms=nearest_rank(ordered, 0.99),
            p99_low_ms=low,
            p99_high_ms=high,
            p99_9_ms=nearest_rank(ordered, 0.999),
            max_ms=float(ordered[-1]),
        )


def nearest_rank(ordered: NDArray[np.float64], share: float) -> float:
    """The smallest value that this share of all are not above.

    Args:
        ordered: Values, ascending, at least one.
        share: Range (0, 1].
    """
    return float(ordered[max(math.ceil(share * len(ordered) - _ROUNDING), 1) - 1])


def interval(ordered: NDArray[np.float64], share: float) -> tuple[float | None, float | None]:
    """Between which of the values the percentile lies of all that could have been measured, with 95 % confidence.

    How many of n independent values are above a percentile is binomial, whatever their distribution. Neighbours in a
    queue are not quite independent, so that the true interval is rather wider.

    Args:
        ordered: Values, ascending.
        share: Range (0, 1).

    Returns:
        Both ends; None for one that lies beyond the values there are.
    """
    count = len(ordered)
    tail = (1 - CONFIDENCE_LEVEL) / 2
    above = _binomial_cdf(count, 1 - share)
    fewest = int(np.searchsorted(above, tail))
    most = int(np.searchsorted(above, 1 - tail))
    low, high = count - 1 - most, count - fewest
    return (
        float(ordered[low]) if low >= 0 else None,
        float(ordered[high]) if high < count else None,
    )


def _binomial_cdf(count: int, share: float) -> NDArray[np.float64]:
    """P(X <= k) for k = 0, …, count, of X the number among `count` of what happens with the probability `share`."""
    successes = np.arange(1, count + 1)
    ratios = np.log((count + 1 - successes) / successes * (share / (1 - share)))
    first = count * math.log1p(-share)
    return np.cumsum(np.exp(first + np.concatenate(([0.0], np.cumsum(ratios)))))
