"""Counts and times what happens, for Prometheus. The names are a promise to dashboards and alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from prometheus_client import Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from detector_grpc.errors import OVERLOAD
from detector_grpc.interceptors.rpc_classes import rpc_class
from detector_grpc.serving.outcome import FRAME_OUTCOMES, frame_outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client import CollectorRegistry, Metric

    from detector_grpc.interceptors.calls import CallEnd
    from detector_grpc.interceptors.later import Later
    from detector_grpc.serving.outcome import Call, Outcome
    from detector_grpc.serving.pipeline import Timing

# The same in every process, so that histograms of replicas add up.
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

STATUSES = tuple(code.name.lower() for code in grpc.StatusCode)


class Metrics:
    """Observes outcomes, and calls that were refused before they could have one.

    Args:
        later: When outcomes are counted.
        collectors: Where the metrics are registered.
        queue_depth: Number of pictures that wait for a worker now.
        streams: Number of streams that are open now.
        shed: Number of pictures that were not looked at so far, by reason.
        providers: Model, version and execution provider of every version that answers now.
        unwritten_lines: Number of lines of the log that nobody read in time so far.
    """

    def __init__(
        self,
        later: Later,
        collectors: CollectorRegistry,
        queue_depth: Callable[[], int],
        streams: Callable[[], int],
        shed: Callable[[], Mapping[str, int]],
        providers: Callable[[], Iterable[tuple[str, str, str]]],
        unwritten_lines: Callable[[], int],
    ) -> None:
        self._later = later
        version_labels = ("model", "version")
        self._requests = Counter(
            "object_detection_requests",
            "Detection requests by canonical status code",
            (*version_labels, "status"),
            registry=collectors,
        )
        self._durations = Histogram(
            "object_detection_request_duration_seconds",
            "Time from a request's arrival to its answer",
            version_labels,
            buckets=BUCKETS_S,
            registry=collectors,
        )
        self._refusals = Histogram(
            "object_detection_refusal_duration_seconds",
            "Time from a request's arrival to its refusal, of those that were refused unread because of overload",
            buckets=BUCKETS_S,
            registry=collectors,
        )
        self._inferences = Histogram(
            "object_detection_inference_duration_seconds",
            "Time that the model took for one picture",
            version_labels,
            buckets=BUCKETS_S,
            registry=collectors,
        )
        stages = Histogram(
            "object_detection_stage_duration_seconds",
            "Time that each part of a detection took",
            ("stage",),
            buckets=BUCKETS_S,
            registry=collectors,
        )
        names = ("queue", "decode", "preprocess", "inference", "postprocess")
        self._stages = tuple(stages.labels(name) for name in names)
        self._frames = Counter(
            "object_detection_stream_frames",
            "Frames of streams by what became of them",
            (*version_labels, "outcome"),
            registry=collectors,
        )
        self._ages = Histogram(
            "object_detection_stream_frame_age_seconds",
            "Time from a frame's arrival until it was looked at",
            version_labels,
            buckets=BUCKETS_S,
            registry=collectors,
        )
        collectors.register(_Live(queue_depth, streams, shed, providers, unwritten_lines))

    def add_version(self, model: str, version: str) -> None:
        """Makes the series of a version exist, at 0."""
        for status in STATUSES:
            self._requests.labels(model, version, status)
        for outcome in FRAME_OUTCOMES:
            self._frames.labels(model, version, outcome)
        self._durations.labels(model, version)
        self._ages.labels(model, version)
        self._inferences.labels(model, version)

    def observe(self, outcome: Outcome) -> None:
        """Counts one picture, later."""
        timing = None if outcome.result is None else outcome.result.timing
        if outcome.frame_id is None:
            self._later(self._count, outcome.call, outcome.status, outcome.duration_s, timing)
        else:
            self._later(self._count_frame, outcome.call, frame_outcome(outcome), outcome.duration_s, timing)

    def count_unobserved(self, end: CallEnd) -> None:
        """Counts a detection call that ended without an outcome of its own: refused early, left early, or a stream."""
        call = end.call
        if not call.observed and not call.copy_of and rpc_class(call.method) == "infer":
            self._requests.labels(call.model, call.version, end.code.name.lower()).inc()
            if call.reason in OVERLOAD:
                self._refusals.observe(end.duration_s)

    def _count(self, call: Call, status: str, duration_s: float, timing: Timing | None) -> None:
        self._requests.labels(call.model, call.version, status).inc()
        if call.model:
            self._durations.labels(call.model, call.version).observe(duration_s)
        self._observe_stages(call, timing)

    def _count_frame(self, call: Call, outcome: str, age_s: float, timing: Timing | None) -> None:
        self._frames.labels(call.model, call.version, outcome).inc()
        if outcome == "detected":
            self._ages.labels(call.model, call.version).observe(age_s)
        self._observe_stages(call, timing)

    def _observe_stages(self, call: Call, timing: Timing | None) -> None:
        if timing is not None:
            self._inferences.labels(call.model, call.version).observe(timing.inference_s)
            for stage, seconds in zip(self._stages, timing, strict=True):
                stage.observe(seconds)


class _Live:
    """Figures that others keep, read when Prometheus asks, on a thread of its server."""

    def __init__(
        self,
        queue_depth: Callable[[], int],
        streams: Callable[[], int],
        shed: Callable[[], Mapping[str, int]],
        providers: Callable[[], Iterable[tuple[str, str, str]]],
        unwritten_lines: Callable[[], int],
    ) -> None:
        self._queue_depth = queue_depth
        self._streams = streams
        self._shed = shed
        self._providers = providers
        self._unwritten_lines = unwritten_lines

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client.registry.Collector."""
        yield GaugeMetricFamily(
            "object_detection_queue_depth", "Pictures that wait for a worker", value=self._queue_depth()
        )
        yield GaugeMetricFamily("object_detection_streams", "Streams that are open", value=self._streams())
        shed = CounterMetricFamily(
            "object_detection_shed", "Pictures that were not looked at, by reason", labels=["reason"]
        )
        for reason, count in self._shed().items():
            shed.add_metric([reason], count)
        yield shed
        yield CounterMetricFamily(
            "object_detection_log_lines_dropped",
            "Lines of the log that were not written since nobody read them in time",
            value=self._unwritten_lines(),
        )
        providers = GaugeMetricFamily(
            "object_detection_execution_provider",
            "1 for the execution provider that really runs a version",
            labels=["model", "version", "provider"],
        )
        for labels in self._providers():
            providers.add_metric(labels, 1)
        yield providers
