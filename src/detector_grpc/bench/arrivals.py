"""When calls are due."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def poisson(rate_per_s: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Times of calls by callers who do not know of each other, float64, ascending, in seconds. Range [0, seconds).

    Of a Poisson process whose number of arrivals is known, the times are those of as many uniform draws.
    """
    draws = np.random.default_rng(seed)
    return np.sort(draws.uniform(0, seconds, draws.poisson(rate_per_s * seconds)))


def phases(cameras: int, fps: float, seed: int) -> NDArray[np.float64]:
    """When each camera takes its first picture, float64 (cameras,), in seconds. Range [0, 1 / fps)."""
    return np.random.default_rng(seed).uniform(0, 1 / fps, cameras)
