"""What a load came to, as plain values."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector_grpc.bench.percentiles import Percentiles
from detector_grpc.bench.timeline import Second, timeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from detector_grpc.bench.load import Measured
    from detector_grpc.client import CallFailed

OVERLOAD = "RESOURCE_EXHAUSTED"

# Of the latency that is told, at most this share may be the generator's own.
MOST_LATENESS = 0.1


@dataclass(frozen=True)
class LoadReport:
    """A load and how it was borne. Latencies are counted from when a call was due to be sent.

    Attributes:
        seconds: Length of the window.
        deadline_ms: Longest that a call might take.
        calls: Calls that count.
        calls_per_s: The same per second.
        answered: Those that were answered.
        answered_per_s: The same per second.
        late: Answers that came after the deadline.
        goodput_per_s: Answers within the deadline, per second.
        failed: Numbers of calls by how they failed.
        unanswered: Calls that had not ended when the measurement was cut short.
        unsent: Calls that were due and not sent, as too many were unanswered for the generator's memory.
        latency: Of the answered ones.
        refused: Latency of those that failed with RESOURCE_EXHAUSTED.
        retry_after: What the refusals say of how long to wait.
        lateness: How much later than due calls were sent.
        cpu_ms_per_call: CPU time of the generator.
        generator_processors: The same as the number of processors that it kept busy.
        timeline: Second by second.
        cut_short: Whether the measurement was stopped early.
        warnings: Why figures are not what they seem, in sentences.
    """

    seconds: float
    deadline_ms: float
    calls: int
    calls_per_s: float
    answered: int
    answered_per_s: float
    late: int
    goodput_per_s: float
    failed: Mapping[str, int]
    unanswered: int
    unsent: int
    latency: Percentiles | None
    refused: Percentiles | None
    retry_after: Percentiles | None
    lateness: Percentiles | None
    cpu_ms_per_call: float
    generator_processors: float
    timeline: Sequence[Second]
    cut_short: bool
    warnings: Sequence[str]

    @classmethod
    def of(cls, measured: Measured, deadline_s: float) -> LoadReport:
        """Counts and sorts."""
        calls, seconds = measured.calls, measured.seconds
        answered = [call for call in calls if call.failure is None]
        refusals = [call for call in calls if call.failure is not None and call.failure.code == OVERLOAD]
        late = sum(call.latency_s > deadline_s for call in answered)
        latency = Percentiles.of([call.latency_s for call in answered])
        lateness = Percentiles.of([call.sent_s - call.due_s for call in calls])
        return cls(
            seconds=seconds,
            deadline_ms=deadline_s * 1e3,
            calls=len(calls),
            calls_per_s=per_second(len(calls), seconds),
            answered=len(answered),
            answered_per_s=per_second(len(answered), seconds),
            late=late,
            goodput_per_s=per_second(len(answered) - late, seconds),
            failed=counted(call.failure for call in calls),
            unanswered=measured.unanswered,
            unsent=measured.unsent,
            latency=latency,
            refused=Percentiles.of([call.latency_s for call in refusals]),
            retry_after=Percentiles.of(
                [
                    call.failure.retry_after_s
                    for call in refusals
                    if call.failure is not None and call.failure.retry_after_s is not None
                ]
            ),
            lateness=lateness,
            cpu_ms_per_call=measured.cpu_ms_per_call,
            generator_processors=measured.cpu_ms_per_call / 1e3 * per_second(len(calls), seconds),
            timeline=timeline((call.due_s, None if call.failure else call.latency_s) for call in calls),
            cut_short=measured.cut_short,
            warnings=tuple(_warnings(measured, latency, lateness)),
        )


def per_second(count: int, seconds: float) -> float:
    """A rate; 0 where there was no time."""
    return count / seconds if seconds > 0 else 0.0


def counted(failures: Iterable[CallFailed | None]) -> dict[str, int]:
    """Numbers by code and reason, the most frequent first."""
    names = (f"{each.code} ({each.reason})" if each.reason else each.code for each in failures if each is not None)
    return dict(Counter(names).most_common())


def lateness_warning(lateness: Percentiles | None, latency: Percentiles | None, what: str) -> list[str]:
    """That the generator itself is to blame for a good part of what it tells; nothing if it is not."""
    if lateness is None or latency is None or lateness.p99_ms <= MOST_LATENESS * latency.p99_ms:
        return []
    by = f"{lateness.p99_ms:.1f} ms at the 99th percentile"
    return [f"the generator itself was late, by {by}, which is part of the {what}: give it a processor of its own"]


def _warnings(measured: Measured, latency: Percentiles | None, lateness: Percentiles | None) -> Iterable[str]:
    yield from lateness_warning(lateness, latency, "p99")
    if measured.unsent:
        yield f"{measured.unsent} calls were not sent: so many were unanswered that memory had to be spared"
    if latency is not None and latency.p99_high_ms is None:
        yield f"{latency.count} answers are too few to say how high the 99th percentile may be: 368 are enough"
