"""All that is watched: the series of every version, and of each group of its streams. Bounded in every direction."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detector_grpc.drift.block import DAY_S
from detector_grpc.drift.features import NAMES
from detector_grpc.drift.series import Series, Shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detector_grpc.drift.observation import Observation, Watched

# Enough for hundreds of cameras that are looked at twice a minute: a few minutes make a block.
GROUP_SHAPE = Shape(block=6, first=12, hourly=5, window=3)

# Of what comes at once, so many seconds' worth is taken.
_BURST_S = 60.0

# Observations of another file of a version are put aside for so long after the latest one of the present file: while
# replicas are replaced one after the other, both are there.
_BOTH_FILES_S = 60.0

# What was silent for so long makes room for others. Clocks may jump, so silence is a difference in either direction.
_GONE_S = DAY_S


class Bounds(NamedTuple):
    """How much is watched at most.

    Attributes:
        versions: Versions; others are taken in only where one has been silent for a day.
        groups: Groups of each version.
        per_s: Observations a second of each version.
    """

    versions: int = 32
    groups: int = 1000
    per_s: float = 100.0


class VersionMonitor:
    """One version.

    Attributes:
        digest: Digest of the model file that is watched.
        series: All of its observations.
        group_shape: How those of a group are cut.
        groups: Those of each group of streams, the one that was silent for longest first.
        forgotten: Names of groups that were forgotten since that was last written; of very many only the latest, since
            whoever finds the others on disk will forget them again.
        is_stored: Whether what is on disk of this version, if anything is, is of this file.
    """

    def __init__(self, digest: str, shape: Shape, group_shape: Shape, bounds: Bounds) -> None:
        self.digest = digest
        self.series = Series(shape)
        self.groups: OrderedDict[str, Series] = OrderedDict()
        self.forgotten: deque[str] = deque(maxlen=bounds.groups)
        self.is_stored = False
        self.group_shape = group_shape
        self._bounds = bounds
        self._budget = bounds.per_s * _BURST_S
        self._latest_s = -math.inf

    def is_present(self, digest: str, now_s: float) -> bool:
        """Whether observations of this file are to be taken in."""
        return self.digest in ("", digest) or abs(now_s - self._latest_s) > _BOTH_FILES_S

    def may_take(self, count: int, now_s: float) -> int:
        """How many of so many observations may be taken in now."""
        passed_s = min(max(now_s - self._latest_s, 0.0), _BURST_S)
        self._latest_s = now_s
        self._budget = min(self._budget + passed_s * self._bounds.per_s, self._bounds.per_s * _BURST_S)
        taken = min(count, int(self._budget))
        self._budget -= taken
        return taken

    def add(self, observation: Observation, now_s: float) -> None:
        """Takes one in."""
        self.series.add(observation, now_s)
        if observation.group:
            self.group(observation.group, now_s).add(observation, now_s)

    def group(self, name: str, now_s: float) -> Series:
        """The series of a group, now the one heard of last; where there are too many, another one is forgotten."""
        series = self.groups.pop(name) if name in self.groups else Series(self.group_shape)
        return self.keep(name, series, now_s)

    def keep(self, name: str, series: Series, now_s: float) -> Series:
        """Makes a series that of a group, as the one heard of last."""
        self.groups[name] = series
        if len(self.groups) > self._bounds.groups:
            least = self._least_missed(now_s)
            del self.groups[least]
            self.forgotten.append(least)
        return series

    def _least_missed(self, now_s: float) -> str:
        """One that is gone; else one of which nothing is known yet, or ids that are made up would drive cameras out."""
        first, series = next(iter(self.groups.items()))
        if abs(now_s - series.latest_s) > _GONE_S:
            return first
        return next((name for name, each in self.groups.items() if each.reference is None), first)


class Monitor:
    """Not safe for several threads at once.

    Args:
        shape: How the observations of a version are cut.
        group_shape: How those of a group are.
        bounds: How much is watched.

    Attributes:
        versions: What is known of each.
        forgotten: Versions that were forgotten since that was last written.
    """

    def __init__(self, shape: Shape, group_shape: Shape = GROUP_SHAPE, bounds: Bounds = Bounds()) -> None:  # noqa: B008
        self._shapes = shape, group_shape
        self._bounds = bounds
        self.versions: dict[Watched, VersionMonitor] = {}
        self.forgotten: set[Watched] = set()

    def add(
        self, watched: Watched, digest: str, observations: Sequence[Observation], now_s: float
    ) -> Mapping[str, int]:
        """Takes in what a replica observed; says how many observations were not taken, by reason.

        Args:
            watched: The version.
            digest: Of its model file. Another one than before is another world, whose learning begins anew.
            observations: In the order in which they were made.
            now_s: Now, seconds since the epoch.

        Raises:
            ValueError: An observation has another number of features.
        """
        if any(len(each.values) != len(NAMES) for each in observations):
            raise ValueError(f"observations have {len(NAMES)} features")
        version = self.versions.get(watched)
        if version is None and not self._has_room(now_s):
            return {"too_many_versions": len(observations)}
        if version is not None and not version.is_present(digest, now_s):
            return {"other_file": len(observations)}
        if version is not None:
            version.digest = version.digest or digest  # whose reference was there before any observation
        if version is None or version.digest != digest:
            version = self.begin(watched, digest)
        sound = [each for each in observations if not np.isinf(each.values).any()]
        taken = version.may_take(len(sound), now_s)
        for observation in sound[:taken]:
            version.add(observation, now_s)
        refused = {"not_finite": len(observations) - len(sound), "too_many": len(sound) - taken}
        return {reason: count for reason, count in refused.items() if count}

    def begin(self, watched: Watched, digest: str) -> VersionMonitor:
        """Forgets what is known of a version, if anything is."""
        self.forgotten.discard(watched)
        self.versions[watched] = VersionMonitor(digest, *self._shapes, self._bounds)
        return self.versions[watched]

    def _has_room(self, now_s: float) -> bool:
        """Whether another version can be watched; forgets one that is gone if that makes the room."""
        if len(self.versions) < self._bounds.versions:
            return True
        gone = max(self.versions, key=lambda each: abs(now_s - self.versions[each].series.latest_s))
        if abs(now_s - self.versions[gone].series.latest_s) <= _GONE_S:
            return False
        del self.versions[gone]
        self.forgotten.add(gone)
        return True
