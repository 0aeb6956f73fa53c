"""What is said of a series: its state, and which features made it so, in numbers and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detector_grpc.drift import words
from detector_grpc.drift.evidence import WARNING_AT, DriftState
from detector_grpc.drift.features import CLASS_MIX, FEATURES, NAMES, REPEATS, Feature
from detector_grpc.drift.statistics import TwoSamples, chi_square_p, two_samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from detector_grpc.drift.block import Block
    from detector_grpc.drift.expectation import Deviation, Expectation
    from detector_grpc.drift.series import Series

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_QUARTILES = slice(1, 4)
_NOTHING: NDArray[np.float64] = np.empty(0)


class FeatureStatus(NamedTuple):
    """One feature of a series.

    Attributes:
        feature: Which.
        deviation: How far the latest block is from the reference.
        evidence: What has added up.
        reference: float64 (5,), quantiles `QUANTILES` of the reference; empty of what is no number of a picture.
        current: As `reference`, of the latest block.
        statistics: Classical ones; None of what is no number of a picture.
        chi_square_p: Of the mix of classes; None of all else.
        words: What happened.
    """

    feature: Feature
    deviation: Deviation
    evidence: float
    reference: NDArray[np.float64]
    current: NDArray[np.float64]
    statistics: TwoSamples | None
    chi_square_p: float | None
    words: str

    @property
    def drifted(self) -> bool:
        """Whether it made the state what it is."""
        return self.evidence >= WARNING_AT


class SeriesStatus(NamedTuple):
    """One series.

    Attributes:
        state: Its state.
        since_s: Since when, seconds since the epoch.
        latest_s: When the latest observation came, seconds since the epoch; 0: never.
        observations: Number of observations since the last block, and in the latest blocks that are kept.
        wanted: Observations that are needed for a reference; 0 where there is one.
        drifted_share: Share of drifted features among those that could be compared. Range [0, 1].
        knows_hour: Whether the reference tells of this time of day; otherwise the state is WARNING at most.
        features: Those that could be compared, the most drifted first.
    """

    state: DriftState
    since_s: float
    latest_s: float
    observations: int
    wanted: int
    drifted_share: float
    knows_hour: bool
    features: list[FeatureStatus]


class View(NamedTuple):
    """A series as it is at a moment. What there is to say of it takes a while, in which the series may go on.

    Attributes:
        expectation: What the latest block was compared with; None while that is learned.
        block: That block; None if there was none since the reference is there.
        deviations: Its deviations, by the name of the feature.
        evidence: What has added up, by the name of the feature.
        others: As those of SeriesStatus.
    """

    state: DriftState
    since_s: float
    latest_s: float
    observations: int
    wanted: int
    knows_hour: bool
    expectation: Expectation | None
    block: Block | None
    deviations: Mapping[str, Deviation]
    evidence: Mapping[str, float]

    @classmethod
    def of(cls, series: Series, now_s: float) -> View:
        """What the series is now."""
        block = series.recent[-1] if series.deviations else None
        return cls(
            series.state,
            series.since_s,
            series.latest_s,
            len(series.pending) + sum(map(len, series.recent)),
            0 if series.reference else series.wanted,
            series.reference is not None and series.reference.knows(now_s),
            series.expectation(block.at_s) if block else None,
            block,
            series.deviations,
            dict(series.evidence.sums),
        )

    def status(self, *, only_drifted: bool = False) -> SeriesStatus:
        """What there is to say of it.

        Args:
            only_drifted: Whether to say nothing of features that did not drift.
        """
        drifted = [name for name in self.deviations if self.evidence.get(name, 0.0) >= WARNING_AT]
        features = list(self._features(drifted if only_drifted else self.deviations))
        features.sort(key=lambda each: (-each.evidence, -each.deviation.ratio))
        return SeriesStatus(
            self.state,
            self.since_s,
            self.latest_s,
            self.observations,
            self.wanted,
            len(drifted) / len(self.deviations) if self.deviations else 0.0,
            self.knows_hour,
            features,
        )

    def _features(self, names: Iterable[str]) -> Iterator[FeatureStatus]:
        if self.expectation is None or self.block is None:
            return
        for name in names:
            deviation, evidence = self.deviations[name], self.evidence.get(name, 0.0)
            if name == CLASS_MIX.name:
                yield _class_mix(deviation, evidence, self.expectation.classes, self.block.classes)
            elif name == REPEATS.name:
                yield _repeats(deviation, evidence, self.expectation.repeats, self.block.repeats)
            else:
                column = self.block.values[:, NAMES.index(name)].astype(np.float64)
                reference, current = self.expectation.pools[name].values, column[np.isfinite(column)]
                yield _feature(FEATURES[NAMES.index(name)], deviation, evidence, reference, current)


def status(series: Series, now_s: float) -> SeriesStatus:
    """What there is to say of a series now."""
    return View.of(series, now_s).status()


def _feature(
    feature: Feature,
    deviation: Deviation,
    evidence: float,
    reference: NDArray[np.float64],
    current: NDArray[np.float64],
) -> FeatureStatus:
    before, after = np.quantile(reference, QUANTILES), np.quantile(current, QUANTILES)
    told = words.moved(feature, before[_QUARTILES], after[_QUARTILES])
    return FeatureStatus(feature, deviation, evidence, before, after, two_samples(reference, current), None, told)


def _class_mix(
    deviation: Deviation, evidence: float, before: Mapping[str, int], after: Mapping[str, int]
) -> FeatureStatus:
    p, told = chi_square_p(before, after), words.mixed(before, after)
    return FeatureStatus(CLASS_MIX, deviation, evidence, _NOTHING, _NOTHING, None, p, told)


def _repeats(deviation: Deviation, evidence: float, before: float, after: float) -> FeatureStatus:
    told = words.repeated(before, after)
    return FeatureStatus(REPEATS, deviation, evidence, _NOTHING, _NOTHING, None, None, told)
