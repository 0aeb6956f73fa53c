"""Consecutive observations, which are judged together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector_grpc.drift.features import NAMES, OF_PICTURE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from detector_grpc.drift.observation import Observation

DAY_S = 86400.0

# Observations in a block, where all of a version are meant.
BLOCK = 100

# A block has a feature where at least this share of its observations have it, and a world has one of so many blocks.
_MIN_SHARE = 0.25
MIN_PARTS = 5


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

    def feature(self, index: int) -> NDArray[np.float32] | None:
        """Numbers of one feature, where enough of the observations have it."""
        column = self.values[:, index]
        there = column[np.isfinite(column)]
        return there if len(there) and len(there) >= _MIN_SHARE * len(column) else None

    @property
    def repeats(self) -> float:
        """Share of the pictures that are the same as another one, as far as can be told. Range [0, 1)."""
        return 1 - len({row.tobytes() for row in self.values[:, OF_PICTURE]}) / len(self)

    @property
    def has_boxes(self) -> bool:
        """Whether there are enough for their classes to be a mix."""
        return sum(self.classes.values()) >= _MIN_SHARE * len(self)


def parts_of(blocks: Iterable[Block], index: int) -> list[NDArray[np.float32]]:
    """Numbers of one feature in each block that has it."""
    return [part for block in blocks if (part := block.feature(index)) is not None]


def are_comparable(blocks: Sequence[Block]) -> bool:
    """Whether others can be compared with them, if only in one feature."""
    return any(len(parts_of(blocks, index)) >= MIN_PARTS for index in range(len(NAMES)))


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
