"""What a block of observations is expected to be like, and by how much it may differ.

Pictures of a camera resemble the ones before, so tests that take observations for independent (Kolmogorov-Smirnov,
chi-square) find any ten seconds of a video different from any other. Here the unit is the block of consecutive
observations, and what counts is the size of the effect: the distance of a block to the reference, measured by how far
the reference's own blocks are from each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import stdtrit

from detector_grpc.drift.block import MIN_PARTS, parts_of, total
from detector_grpc.drift.distances import Pool, jensen_shannon, spread
from detector_grpc.drift.features import CLASS_MIX, FEATURES, REPEATS, WATCHED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from detector_grpc.drift.block import Block

# Of all blocks of an unchanged world, at most this share may have any feature beyond what is allowed, as far as
# distances are distributed normally; what they are not is left to the evidence, which no single block can make.
FALSE_ALARMS = 1e-3


class Deviation(NamedTuple):
    """How far a block is from the reference, in one feature.

    Attributes:
        distance: Wasserstein distance in the feature's unit; of the mix of classes, the Jensen-Shannon distance; of
            repeated pictures, how much more of them there are.
        allowed: The distance that is no surprise.
    """

    distance: float
    allowed: float

    @property
    def ratio(self) -> float:
        """The distance in parts of what is allowed; over 1 is a surprise."""
        return self.distance / self.allowed


class _Margin(NamedTuple):
    """What is allowed to a block that has a feature as often as those of the reference.

    Attributes:
        allowed: The distance.
        values: Typical number of values in a block.
    """

    allowed: float
    values: float

    def deviation(self, distance: float, values: int) -> Deviation:
        """Of fewer values chance makes more, by the root of their number."""
        return Deviation(distance, self.allowed * np.sqrt(max(1.0, self.values / values)))


class Expectation:
    """What blocks are compared with.

    Args:
        blocks: The reference: blocks of equal size.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.pools: dict[str, Pool] = {}
        self.classes: Mapping[str, int] = total(block.classes for block in blocks)
        repeats = np.array([block.repeats for block in blocks])
        self.repeats = float(repeats.mean())
        self._margins: dict[str, _Margin] = {}
        for index, feature in enumerate(FEATURES):
            parts = parts_of(blocks, index)
            if len(parts) >= MIN_PARTS:
                distances, counts = spread(parts)
                self.pools[feature.name] = Pool(np.concatenate(parts))
                self._margins[feature.name] = _margin(distances, counts, feature.least_change)
        mixes = [block.classes for block in blocks if block.has_boxes]
        if len(mixes) >= MIN_PARTS:
            rest = [{name: self.classes[name] - mix.get(name, 0) for name in self.classes} for mix in mixes]
            apart = np.array([jensen_shannon(mix, others) for mix, others in zip(mixes, rest, strict=True)])
            boxes = np.array([sum(mix.values()) for mix in mixes])
            self._margins[CLASS_MIX.name] = _margin(apart, boxes, CLASS_MIX.least_change)
        sizes = np.array([len(block) for block in blocks])
        self._margins[REPEATS.name] = _margin(np.abs(repeats - self.repeats), sizes, REPEATS.least_change)

    def deviations(self, block: Block) -> dict[str, Deviation]:
        """How far a block is away, by the names of the features that both have."""
        found = {}
        for index, feature in enumerate(FEATURES):
            pool, values = self.pools.get(feature.name), block.feature(index)
            if pool is not None and values is not None:
                found[feature.name] = self._margins[feature.name].deviation(pool.wasserstein(values), len(values))
        margin = self._margins.get(CLASS_MIX.name)
        if margin is not None and block.has_boxes:
            distance = jensen_shannon(self.classes, block.classes)
            found[CLASS_MIX.name] = margin.deviation(distance, sum(block.classes.values()))
        more = max(block.repeats - self.repeats, 0.0)
        found[REPEATS.name] = self._margins[REPEATS.name].deviation(more, len(block))
        return found


def _margin(distances: NDArray[np.float64], counts: NDArray[np.int64], least: float) -> _Margin:
    """The upper bound of the prediction interval for the distance of one more block (Student's t), as K are known."""
    known = len(distances)
    quantile = float(stdtrit(known - 1, 1 - FALSE_ALARMS / len(WATCHED)))
    bound = float(distances.mean() + quantile * distances.std(ddof=1) * np.sqrt(1 + 1 / known))
    return _Margin(max(bound, least), float(np.median(counts)))
