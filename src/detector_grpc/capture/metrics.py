"""Counts what becomes of pictures that may be worth a label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry, Metric

    from detector_grpc.capture.spool import Spool

# What becomes of a picture that may be worth a label.
CAPTURED = "captured"
OUTCOMES = (
    CAPTURED,
    "duplicate",
    "cooldown",
    "over_budget",
    "opted_out",
    "too_large",
    "skipped",
    "failed",
)


class CaptureMetrics:
    """The metrics.

    Args:
        collectors: Where they are registered.
        spool: Where samples wait.
    """

    def __init__(self, collectors: CollectorRegistry, spool: Spool) -> None:
        labels = ("model", "version")
        self._samples = Counter(
            "active_learning_samples",
            "Pictures that are worth a label and are kept, durably",
            labels,
            registry=collectors,
        )
        self._pictures = Counter(
            "active_learning_pictures",
            "Pictures that may be worth a label, by what became of them",
            (*labels, "outcome"),
            registry=collectors,
        )
        self._brought = Counter(
            "active_learning_uploads",
            "Kept pictures that are in their sink, by whether they were there before",
            ("outcome",),
            registry=collectors,
        )
        self._faults = Counter(
            "active_learning_faults", "What went wrong on the way, by its kind", ("fault",), registry=collectors
        )
        for outcome in ("uploaded", "already_there"):
            self._brought.labels(outcome)
        collectors.register(_OfSpool(spool))

    def add_version(self, model: str, version: str) -> None:
        """Makes the series of a version exist, at 0."""
        self._samples.labels(model, version)
        for outcome in OUTCOMES:
            self._pictures.labels(model, version, outcome)

    def became(self, model: str, version: str, outcome: str) -> None:
        """Counts a picture, by one of OUTCOMES."""
        self._pictures.labels(model, version, outcome).inc()
        if outcome == CAPTURED:
            self._samples.labels(model, version).inc()

    def uploaded(self, *, is_new: bool) -> None:
        """Counts a sample that is in its sink now."""
        self._brought.labels("uploaded" if is_new else "already_there").inc()

    def failed(self, fault: str) -> None:
        """Counts something that went wrong."""
        self._faults.labels(fault).inc()


class _OfSpool:
    """Figures that the spool keeps, read when Prometheus asks."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client.registry.Collector."""
        spool = self._spool
        yield GaugeMetricFamily("active_learning_spool_samples", "Samples that wait for their sink", value=len(spool))
        yield GaugeMetricFamily("active_learning_spool_bytes", "Bytes of samples that wait", value=spool.size_bytes)
        yield GaugeMetricFamily(
            "active_learning_spool_age_seconds",
            "Seconds since the oldest that waits was captured",
            value=spool.oldest_s,
        )
        lost = CounterMetricFamily(
            "active_learning_spool_lost", "Kept samples that will not reach their sink, by why", labels=["reason"]
        )
        for reason, count in dict(spool.lost).items():
            lost.add_metric([reason], count)
        yield lost
