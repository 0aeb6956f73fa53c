"""What is said of a version: its state, those of its groups of streams, and what did not count."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.drift.evidence import DriftState
from detector_grpc.drift.reference import summary
from detector_grpc.drift.status import SeriesStatus, View

if TYPE_CHECKING:
    from detector_grpc.drift.monitor import VersionMonitor
    from detector_grpc.drift.observation import Watched
    from detector_grpc.drift.reference import Summary
    from detector_grpc.drift.series import Series

_MAX_GROUPS_TOLD = 50


class VersionStatus(NamedTuple):
    """As VersionView, with what there is to say of each series."""

    watched: Watched
    digest: str
    series: SeriesStatus
    reference: Summary | None
    groups: list[tuple[str, SeriesStatus]]
    group_states: Counter[DriftState]
    lost: Counter[str]


class VersionView(NamedTuple):
    """One version as it is at a moment.

    Attributes:
        watched: Its name.
        digest: Digest of its model file.
        series: All of its observations.
        reference: What they are compared with.
        groups: Groups of streams that are WARNING or DRIFTED by name, the most drifted first; a bounded number.
        group_states: Number of groups by state.
        lost: Observations that did not count since the process began, by reason.
    """

    watched: Watched
    digest: str
    series: View
    reference: Summary | None
    groups: list[tuple[str, View]]
    group_states: Counter[DriftState]
    lost: Counter[str]

    @classmethod
    def of(cls, watched: Watched, version: VersionMonitor, lost: Counter[str], now_s: float) -> VersionView:
        """What is known of the version now."""
        telling = [(name, series) for name, series in version.groups.items() if series.has_changed]
        telling.sort(key=lambda each: (*_calmness(each[1]), each[0]))
        return cls(
            watched,
            version.digest,
            View.of(version.series, now_s),
            summary(version.series.reference),
            [(name, View.of(series, now_s)) for name, series in telling[:_MAX_GROUPS_TOLD]],
            Counter(series.state for series in version.groups.values()),
            lost.copy(),
        )

    def status(self) -> VersionStatus:
        """What there is to say of it: of groups only what drifted."""
        groups = [(name, view.status(only_drifted=True)) for name, view in self.groups]
        return VersionStatus(
            self.watched, self.digest, self.series.status(), self.reference, groups, self.group_states, self.lost
        )


def _calmness(series: Series) -> tuple[bool, float]:
    return series.state is not DriftState.DRIFTED, -max(series.evidence.sums.values(), default=0.0)
