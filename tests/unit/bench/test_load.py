"""Loads on servers that are nothing but a queue, in virtual time: every latency is known."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.queues import Queue
from support.virtual_time import VirtualTime, in_virtual_time

from detector_grpc.bench.arrivals import poisson
from detector_grpc.bench.load import Load, Measured, Window
from detector_grpc.bench.report import LoadReport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from detector_grpc.bench.load import MakeCall
    from detector_grpc.client import CallFailed

WINDOW = Window(warm_up_s=1, seconds=10)
DEADLINE_S = 5.0
PLENTY = 1_000_000


def measured(
    make_call: Callable[[VirtualTime], MakeCall],
    run: Callable[[Load], Awaitable[Measured]],
    window: Window = WINDOW,
    stop_at_s: float | None = None,
    **options: Any,
) -> LoadReport:
    async def main(time: VirtualTime) -> LoadReport:
        stop = asyncio.Event()
        if stop_at_s is not None:
            asyncio.get_running_loop().call_later(stop_at_s, stop.set)
        load = Load(make_call(time), window, DEADLINE_S, stop, clock=time, **options)
        return LoadReport.of(await run(load), DEADLINE_S)

    return in_virtual_time(main)


def open_loop(rate_per_s: float, most_unanswered: int = PLENTY) -> Callable[[Load], Awaitable[Measured]]:
    return lambda load: load.open_loop(poisson(rate_per_s, WINDOW.whole_s, seed=1), most_unanswered)


def test_a_server_that_stalls_is_late_for_all_that_was_due_meanwhile() -> None:
    """A second's worth of calls, a tenth of all, has waited for up to a second: the 99th percentile is 0.9 s."""
    report = measured(lambda time: Queue(time, PLENTY, 0.001, stall_s=(5, 6)), open_loop(100))
    assert report.latency is not None
    assert report.latency.p50_ms == pytest.approx(1)
    assert report.latency.p99_ms == pytest.approx(900, abs=50)
    assert report.warnings == ()


def test_a_generator_that_stalls_counts_that_as_latency_and_says_so() -> None:
    def stalling(time: VirtualTime) -> MakeCall:
        server = Queue(time, PLENTY, 0.001)

        async def call(number: int, timeout_s: float) -> CallFailed | None:
            if number == 500:
                time.now += 1  # nothing else runs on the loop meanwhile
            return await server(number, timeout_s)

        return call

    report = measured(stalling, open_loop(100))
    assert report.latency is not None
    assert report.lateness is not None
    assert report.latency.p99_ms == pytest.approx(900, abs=50)
    assert report.lateness.p99_ms == pytest.approx(900, abs=50)
    assert "the generator itself was late" in " ".join(report.warnings)


def test_calls_are_sent_when_they_are_due_whatever_is_unanswered() -> None:
    report = measured(lambda time: Queue(time, 1, 100), open_loop(100))
    assert report.lateness is not None
    assert report.lateness.max_ms == pytest.approx(0, abs=1e-3)
    assert report.failed == {"DEADLINE_EXCEEDED": report.calls}
    assert report.calls == pytest.approx(1000, abs=100)


def test_the_warm_up_does_not_count() -> None:
    report = measured(lambda time: Queue(time, PLENTY, 0.001, stall_s=(0, 1)), open_loop(100))
    assert report.latency is not None
    assert report.latency.max_ms == pytest.approx(1)
    assert report.calls == (poisson(100, WINDOW.whole_s, seed=1) >= WINDOW.warm_up_s).sum()


def test_the_deadline_is_counted_from_when_a_call_was_due() -> None:
    timeouts_s = []

    def late(time: VirtualTime) -> MakeCall:
        async def call(number: int, timeout_s: float) -> None:
            if number == 0:
                time.now += 2
            timeouts_s.append(timeout_s)

        return call

    measured(late, lambda load: load.open_loop(np.array([1.0, 1.5, 9.0]), PLENTY))
    assert timeouts_s == pytest.approx([5, 3.5, 5])


def test_clients_get_what_the_workers_can_do() -> None:
    report = measured(lambda time: Queue(time, 2, 0.05), lambda load: load.closed_loop(8))
    assert report.answered_per_s == pytest.approx(40, abs=1)
    assert report.latency is not None
    assert report.latency.p50_ms == pytest.approx(8 / 40 * 1e3)


def test_clients_never_have_more_calls_under_way_than_they_are() -> None:
    under_way, most = 0, 0

    def counting(time: VirtualTime) -> MakeCall:
        server = Queue(time, 1, 0.01)

        async def call(number: int, timeout_s: float) -> CallFailed | None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            failure = await server(number, timeout_s)
            under_way -= 1
            return failure

        return call

    measured(counting, lambda load: load.closed_loop(3))
    assert most == 3


@pytest.mark.parametrize("run", [open_loop(100), lambda load: load.closed_loop(4)])
def test_a_measurement_that_is_stopped_says_what_there_was(run: Callable[[Load], Awaitable[Measured]]) -> None:
    report = measured(lambda time: Queue(time, 4, 0.03), run, stop_at_s=4)
    assert report.cut_short
    assert report.seconds == pytest.approx(3)
    assert report.answered_per_s == pytest.approx(115, abs=20)
    assert report.answered == report.calls
    assert 1 <= report.unanswered <= 20


def test_one_that_is_stopped_in_its_warm_up_has_nothing_to_say() -> None:
    report = measured(lambda time: Queue(time, 4, 0.03), open_loop(100), stop_at_s=0.5)
    assert (report.seconds, report.calls, report.latency, report.calls_per_s) == (0, 0, None, 0)


def test_calls_that_would_take_too_much_memory_are_not_sent_and_counted() -> None:
    report = measured(lambda time: Queue(time, 1, 100), open_loop(100, most_unanswered=50))
    planned = (poisson(100, WINDOW.whole_s, seed=1) >= WINDOW.warm_up_s).sum()
    assert report.calls + report.unsent == planned
    assert report.unsent > 800
    assert f"{report.unsent} calls were not sent" in " ".join(report.warnings)


def test_whatever_goes_wrong_in_the_generator_ends_the_measurement() -> None:
    def broken(_: VirtualTime) -> MakeCall:
        async def call(number: int, timeout_s: float) -> None:
            raise RuntimeError(f"{number} {timeout_s}")

        return call

    for run in (open_loop(10), lambda load: load.closed_loop(2)):
        with pytest.raises(ExceptionGroup) as raised:
            measured(broken, run)
        assert isinstance(raised.value.exceptions[0], RuntimeError)
