"""What is said of a series: its state, and which features made it so, in numbers and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detector_grpc.drift.evidence import WARNING_AT, DriftState
from detector_grpc.drift.features import CLASS_MIX, FEATURES, Feature
from detector_grpc.drift.statistics import TwoSamples, chi_square_p, two_samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from detector_grpc.drift.expectation import Deviation
    from detector_grpc.drift.series import Series

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_MIDDLE = slice(1, 4)

# Classes of which a mix is told, those that changed most.
_MOST_CLASSES = 3


class FeatureStatus(NamedTuple):
    """One feature of a series.

    Attributes:
        feature: Which.
        deviation: How far the latest block is from the reference.
        evidence: What has added up.
        reference: float64 (5,), quantiles `QUANTILES` of the reference; empty of the mix of classes.
        current: As `reference`, of the latest block.
        statistics: Classical ones; None of the mix of classes.
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
        observations: Number of observations since the last block, and in the latest blocks that are kept.
        wanted: Observations that are needed for a reference; 0 where there is one.
        drifted_share: Share of drifted features among those that could be compared. Range [0, 1].
        knows_hour: Whether the reference tells of this time of day; otherwise the state is WARNING at most.
        features: Those that could be compared, the most drifted first.
    """

    state: DriftState
    since_s: float
    observations: int
    wanted: int
    drifted_share: float
    knows_hour: bool
    features: list[FeatureStatus]


def status(series: Series, now_s: float) -> SeriesStatus:
    """What there is to say of a series now."""
    features = sorted(_features(series, now_s), key=lambda each: (-each.evidence, -each.deviation.ratio))
    return SeriesStatus(
        series.state,
        series.since_s,
        len(series.pending) + sum(map(len, series.recent)),
        0 if series.reference else series.wanted,
        sum(each.drifted for each in features) / len(features) if features else 0.0,
        series.reference is not None and series.reference.knows(now_s),
        features,
    )


def _features(series: Series, now_s: float) -> Iterator[FeatureStatus]:
    expectation = series.expectation(now_s)
    if expectation is None or not series.deviations:
        return
    block = series.recent[-1]
    values = block.values.astype(np.float64)
    for index, feature in enumerate(FEATURES):
        deviation, column = series.deviations.get(feature.name), values[:, index]
        pool, current = expectation.pools.get(feature.name), column[np.isfinite(column)]
        if deviation is None or pool is None or not len(current):
            continue
        before, after = np.quantile(pool.values, QUANTILES), np.quantile(current, QUANTILES)
        yield FeatureStatus(
            feature,
            deviation,
            series.evidence.sums.get(feature.name, 0.0),
            before,
            after,
            two_samples(pool.values, current),
            None,
            _moved(feature, before, after),
        )
    deviation, classes = series.deviations.get(CLASS_MIX.name), block.classes
    if deviation is not None and classes:
        nothing, evidence = np.empty(0), series.evidence.sums.get(CLASS_MIX.name, 0.0)
        p, words = chi_square_p(expectation.classes, classes), _mixed(expectation.classes, classes)
        yield FeatureStatus(CLASS_MIX, deviation, evidence, nothing, nothing, None, p, words)


def _moved(feature: Feature, before: NDArray[np.float64], after: NDArray[np.float64]) -> str:
    """What became of the median, or of the spread where that changed more."""
    (low, median, high), (new_low, new_median, new_high) = before[_MIDDLE], after[_MIDDLE]
    width, new_width = high - low, new_high - new_low
    if abs(new_width - width) > abs(new_median - median):
        verb = "widened" if new_width > width else "narrowed"
        return f"the spread of {feature.words} {verb} from {_short(width)} to {_short(new_width)}"
    if _short(median) == _short(new_median):
        return f"{feature.words} is {_short(median)} as before"
    verb = "rose" if new_median > median else "fell"
    return f"{feature.words} {verb} from {_short(median)} to {_short(new_median)}"


def _mixed(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """The classes whose shares changed most."""
    all_before, all_after = max(1, sum(before.values())), max(1, sum(after.values()))
    shares = {name: (before.get(name, 0) / all_before, after.get(name, 0) / all_after) for name in {*before, *after}}
    most = sorted(shares, key=lambda name: (-abs(shares[name][1] - shares[name][0]), name))[:_MOST_CLASSES]
    parts = [f"{name} {shares[name][0]:.0%} to {shares[name][1]:.0%}" for name in most]
    return f"the mix of classes went from {', '.join(parts)}" if parts else "no boxes"


def _short(number: float) -> str:
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"  # noqa: PLR2004 - three digits
