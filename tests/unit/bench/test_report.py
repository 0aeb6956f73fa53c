from __future__ import annotations

import pytest

from detector_grpc.bench.load import Call, Measured
from detector_grpc.bench.overload import Multiple
from detector_grpc.bench.report import LoadReport
from detector_grpc.bench.timeline import Second
from detector_grpc.client import CallFailed

FULL = CallFailed("RESOURCE_EXHAUSTED", "", "QUEUE_FULL", retry_after_s=0.25)
EXPIRED = CallFailed("DEADLINE_EXCEEDED", "")


def report(*calls: Call, seconds: float = 2, deadline_s: float = 1, cpu_ms: float = 0.4) -> LoadReport:
    return LoadReport.of(Measured(seconds, calls, 0, 0, cpu_ms, cut_short=False), deadline_s)


def test_goodput_is_what_was_answered_within_the_deadline_from_when_it_was_due() -> None:
    of = report(
        Call(0.0, 0.0, 0.9, None),
        Call(0.1, 0.9, 1.2, None),  # 0.3 s after it was sent, 1.1 s after it was due
        Call(0.2, 0.2, 1.2, None),
        Call(0.3, 0.3, 0.4, FULL),
    )
    assert (of.calls, of.answered, of.late) == (4, 3, 1)
    assert (of.calls_per_s, of.answered_per_s, of.goodput_per_s) == (2, 1.5, 1)


def test_failed_calls_are_counted_by_code_and_reason_and_are_in_no_latency() -> None:
    of = report(Call(0, 0, 0.01, FULL), Call(0, 0, 1, EXPIRED), Call(0, 0, 0.03, FULL), Call(0, 0, 0.5, None))
    assert of.failed == {"RESOURCE_EXHAUSTED (QUEUE_FULL)": 2, "DEADLINE_EXCEEDED": 1}
    assert of.latency is not None
    assert (of.latency.count, of.latency.max_ms) == (1, 500)


def test_refusals_have_a_latency_and_a_time_to_wait_of_their_own() -> None:
    of = report(Call(0, 0, 0.01, FULL), Call(0, 0, 0.03, CallFailed("RESOURCE_EXHAUSTED", "")), Call(0, 0, 1, EXPIRED))
    assert of.refused is not None
    assert of.retry_after is not None
    assert (of.refused.count, of.refused.max_ms) == (2, 30)
    assert (of.retry_after.count, of.retry_after.p50_ms) == (1, 250)


def test_seconds_tell_what_became_of_the_calls_that_were_due_in_them() -> None:
    of = report(Call(0.2, 0.2, 1.4, None), Call(0.9, 0.9, 1, FULL), Call(3.5, 3.5, 4, EXPIRED))
    assert of.timeline == (
        Second(0, 2, 1, pytest.approx(1200), pytest.approx(1200)),
        Second(3, 1, 0, None, None),
    )


def test_too_few_answers_for_a_percentile_are_a_warning() -> None:
    few, enough = (report(*[Call(0, 0, 0.1, None)] * count) for count in (367, 368))
    assert few.warnings == ("367 answers are too few to say how high the 99th percentile may be: 368 are enough",)
    assert enough.warnings == ()


def test_what_is_left_under_overload_is_compared_with_the_capacity() -> None:
    capacity = report(*[Call(0, 0, 0.1, None)] * 4)
    of = Multiple.of(3, capacity, report(*[Call(0, 0, 0.1, None)] * 3), processors=2)
    assert (of.rate_per_s, of.goodput_to_capacity) == (6, 0.75)


def test_what_the_generator_takes_beyond_what_it_took_before_is_no_capacity_any_more() -> None:
    answered, refused = Call(0, 0, 0.1, None), Call(0, 0, 0.1, FULL)
    capacity = report(*[answered] * 4, cpu_ms=50)  # 2 calls a second: a tenth of a processor
    load = report(*[answered] * 3, *[refused] * 9, cpu_ms=100)  # 6 calls a second: six tenths
    of = Multiple.of(3, capacity, load, processors=2)
    assert (capacity.generator_processors, load.generator_processors) == pytest.approx((0.1, 0.6))
    assert of.goodput_to_rest == pytest.approx(of.goodput_to_capacity / 0.75)
    assert Multiple.of(1, load, capacity, processors=2).goodput_to_rest == 4 / 3


def test_a_generator_that_takes_everything_makes_no_server_look_infinitely_good() -> None:
    load = report(*[Call(0, 0, 0.1, None)] * 4, cpu_ms=2000)
    assert Multiple.of(1, report(Call(0, 0, 0.1, None)), load, processors=1).goodput_to_rest == pytest.approx(40)
