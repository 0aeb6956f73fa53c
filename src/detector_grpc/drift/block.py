"""Consecutive observations, which are judged together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from detector_grpc.drift.observation import Observation

DAY_S = 86400.0


@dataclass(frozen=True)
class Block:
    """Consecutive observations.

    Attributes:
        at_s: When the last of them came, seconds since the epoch.
        values: float32 (n, F), in the order of `features.NAMES`; NaN where there is nothing to say.
        classes: Number of boxes by class name.
    """

    at_s: float
    values: NDArray[np.float32]
    classes: Mapping[str, int]

    @classmethod
    def of(cls, observations: Sequence[Observation], at_s: float) -> Block:
        """What was observed until now."""
        return cls(at_s, np.stack([each.values for each in observations]), total(each.classes for each in observations))

    def __len__(self) -> int:
        return len(self.values)


def total(mixes: Iterable[Mapping[str, int]]) -> Counter[str]:
    """Number of boxes by class name of all together."""
    counts: Counter[str] = Counter()
    for mix in mixes:
        counts.update(mix)
    return counts


def apart_s(one_s: float, other_s: float) -> float:
    """Seconds between two times of day, at most half a day; dates do not matter."""
    apart = abs(one_s - other_s) % DAY_S
    return min(apart, DAY_S - apart)
