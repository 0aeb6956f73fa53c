"""How things are, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from detector_grpc.drift.evidence import DriftState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from detector_grpc.drift.station import Station

LABELS = ("model", "version")


class DriftMetrics:
    """Read when Prometheus asks, on a thread of its server. See prometheus_client.registry.Collector.

    Args:
        station: What watches.
    """

    def __init__(self, station: Station) -> None:
        self._station = station

    def collect(self) -> Iterator[Metric]:
        """All metrics of all versions."""
        detected = CounterMetricFamily(
            "data_drift_detected", "Times that a version has become drifted since the process began", labels=LABELS
        )
        state = GaugeMetricFamily("data_drift_state", "1 for the state that a version is in", labels=(*LABELS, "state"))
        ratio = GaugeMetricFamily(
            "data_drift_feature_ratio",
            "Distance of the latest observations to the reference, in parts of what is allowed",
            labels=(*LABELS, "feature"),
        )
        evidence = GaugeMetricFamily(
            "data_drift_feature_evidence", "What has added up of that; 1 is drift", labels=(*LABELS, "feature")
        )
        groups = GaugeMetricFamily("data_drift_groups", "Groups of streams, by state", labels=(*LABELS, "state"))
        lost = CounterMetricFamily(
            "data_drift_observations_lost", "Observations that did not count, by reason", labels=(*LABELS, "reason")
        )
        for version in self._station.views():
            detected.add_metric(version.watched, self._station.alarms[version.watched])
            for each in DriftState:
                state.add_metric((*version.watched, each.value), each is version.series.state)
                groups.add_metric((*version.watched, each.value), version.group_states[each])
            for feature, deviation in version.series.deviations.items():
                ratio.add_metric((*version.watched, feature), deviation.ratio)
                evidence.add_metric((*version.watched, feature), version.series.evidence.get(feature, 0.0))
            for reason, count in version.lost.items():
                lost.add_metric((*version.watched, reason), count)
        lost.add_metric(("", "", "too_many_versions"), self._station.turned_away)
        stored = GaugeMetricFamily("data_drift_stored", "Whether all of it is on disk", value=self._station.stored)
        yield from (detected, state, ratio, evidence, groups, lost, stored)
