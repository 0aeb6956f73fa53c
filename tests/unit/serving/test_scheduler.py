"""Who gets a worker, and when. The clock is ours; workers are held by gates, never by sleeping."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import weakref
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from detector_grpc.errors import DeadlineExpired, QueueFull, ShuttingDown, WouldBeLate
from detector_grpc.serving.scheduler import Priority, Scheduler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

TIMEOUT_S = 20
ANSWER_S = 0.25


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """A job that says when it began, and goes on until it is told to end."""

    def __init__(self, value: object = None, error: BaseException | None = None) -> None:
        self.runs = 0
        self.waited_s: float | None = None
        self._value, self._error = value, error
        self._loop = asyncio.get_running_loop()
        self._began = asyncio.Event()
        self._open = threading.Event()

    def __call__(self, waited_s: float) -> object:
        self.runs += 1
        self.waited_s = waited_s
        self._loop.call_soon_threadsafe(self._began.set)
        assert self._open.wait(TIMEOUT_S)
        if self._error is not None:
            raise self._error
        return self._value

    async def began(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await self._began.wait()

    def open(self) -> None:
        self._open.set()


def opened(value: object = None, error: BaseException | None = None) -> Gate:
    gate = Gate(value, error)
    gate.open()
    return gate


async def ask(
    scheduler: Scheduler,
    work: Callable[[float], Any],
    deadline: float | None = None,
    *,
    flow: tuple[object, ...] = ("calls",),
    uses: object = None,
) -> Any:
    """As a call does for which somebody waits."""
    return await scheduler.submit(work, flow, Priority.INTERACTIVE, deadline, uses)


async def turn() -> None:
    """Lets everything that is ready to go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


@asynccontextmanager
async def busy(scheduler: Scheduler) -> AsyncIterator[list[asyncio.Task[object]]]:
    """All workers hold a job; the tasks are those jobs."""
    gates = [Gate(f"busy {n}") for n in range(scheduler.workers)]
    tasks = [asyncio.create_task(ask(scheduler, gate)) for gate in gates]
    for gate in gates:
        await gate.began()
    try:
        yield tasks
    finally:
        for gate in gates:
            gate.open()
        await asyncio.gather(*tasks, return_exceptions=True)


async def waiting(
    scheduler: Scheduler, *works: Gate, deadline: float | None = None, uses: object = None
) -> list[asyncio.Task[object]]:
    tasks = [asyncio.create_task(ask(scheduler, work, deadline, uses=uses)) for work in works]
    await turn()
    return tasks


async def ended(*tasks: asyncio.Task[object]) -> list[object]:
    async with asyncio.timeout(TIMEOUT_S):
        return await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_job_gets_its_own_value_and_the_time_it_waited() -> None:
    clock = Clock()
    scheduler = Scheduler(1, 10, clock)
    async with busy(scheduler):
        gates = [opened(n) for n in range(3)]
        tasks = await waiting(scheduler, *gates)
        clock.now += 2.5
    assert await ended(*tasks) == [0, 1, 2]
    assert [gate.waited_s for gate in gates] == [2.5, 2.5, 2.5]
    await scheduler.close()


async def test_a_job_on_a_free_worker_did_not_wait() -> None:
    scheduler, gate = Scheduler(1, 0, Clock()), opened("value")
    assert await ask(scheduler, gate) == "value"
    assert gate.waited_s == 0
    await scheduler.close()


async def test_jobs_begin_in_the_order_in_which_they_came() -> None:
    scheduler = Scheduler(1, 10, Clock())
    order: list[int] = []
    async with busy(scheduler):
        tasks = [asyncio.create_task(ask(scheduler, lambda _, n=n: order.append(n))) for n in range(6)]
        await turn()
    await ended(*tasks)
    assert order == [0, 1, 2, 3, 4, 5]
    await scheduler.close()


async def test_as_many_jobs_run_at_once_as_there_are_workers() -> None:
    scheduler = Scheduler(3, 10, Clock())
    async with busy(scheduler):
        late = Gate("late")
        tasks = await waiting(scheduler, late)
        assert scheduler.depth == 1
        assert late.runs == 0
        late.open()
    assert await ended(*tasks) == ["late"]
    await scheduler.close()


async def test_a_waiting_job_that_is_cancelled_leaves_the_queue_at_once_and_its_neighbours_finish() -> None:
    scheduler = Scheduler(1, 10, Clock())
    async with busy(scheduler):
        gates = [opened(n) for n in range(3)]
        tasks = await waiting(scheduler, *gates)
        assert scheduler.depth == 3
        tasks[1].cancel()
        await turn()
        assert scheduler.depth == 2
        assert tasks[1].cancelled()
    assert await ended(tasks[0], tasks[2]) == [0, 2]
    assert [gate.runs for gate in gates] == [1, 0, 1]
    assert scheduler.shed["cancelled"] == 1
    await scheduler.close()


async def test_a_cancelled_job_gives_its_place_in_the_queue_to_another() -> None:
    scheduler = Scheduler(1, 1, Clock())
    async with busy(scheduler):
        (first,) = await waiting(scheduler, opened())
        first.cancel()
        await turn()
        (second,) = await waiting(scheduler, opened("second"))
    assert await ended(second) == ["second"]
    await scheduler.close()


@pytest.mark.parametrize("leaving", range(4))
async def test_one_of_four_that_leaves_does_not_strand_the_other_three(leaving: int) -> None:
    scheduler = Scheduler(2, 10, Clock())
    gates = [Gate(n) for n in range(4)]
    tasks = await waiting(scheduler, *gates)
    await gates[0].began()
    await gates[1].began()
    tasks[leaving].cancel()
    await turn()
    for gate in gates:
        gate.open()
    results = await ended(*tasks)
    assert isinstance(results.pop(leaving), asyncio.CancelledError)
    assert results == [n for n in range(4) if n != leaving]
    assert [gate.runs for gate in gates] == [int(n < 2 or n != leaving) for n in range(4)]
    async with asyncio.timeout(TIMEOUT_S):
        await scheduler.close()


async def test_a_job_cancelled_in_the_turn_in_which_a_worker_comes_free_is_not_run() -> None:
    scheduler = Scheduler(1, 10, Clock())
    gates = [opened("left"), opened("stayed")]
    async with busy(scheduler):
        left, stayed = await waiting(scheduler, *gates)
        left.cancel()  # its task is told of it only after this turn of the loop
        scheduler.workers += 1
        scheduler._fill()  # what happens when a worker comes free in this very turn
        assert scheduler.depth == 0
    assert await ended(stayed) == ["stayed"]
    assert left.cancelled()
    assert gates[0].runs == 0
    assert scheduler.shed == {"cancelled": 1}
    await scheduler.close()


async def test_an_expired_job_is_never_run_and_its_caller_is_told() -> None:
    clock = Clock()
    scheduler = Scheduler(1, 10, clock)
    async with busy(scheduler):
        gate, patient = opened(), opened("patient")
        (task,) = await waiting(scheduler, gate, deadline=clock.now + 1)
        (other,) = await waiting(scheduler, patient, deadline=clock.now + 10)
        clock.now += 1.5
    result = await ended(task, other)
    assert isinstance(result[0], DeadlineExpired)
    assert result[0].metadata == {"waitedMs": "1500"}
    assert result[1] == "patient"
    assert gate.runs == 0
    assert scheduler.shed == {"expired": 1}
    await scheduler.close()


@pytest.mark.parametrize(("margin_s", "runs"), [(0.0, 0), (0.001, 1)])
async def test_a_job_that_waited_is_begun_only_if_it_can_be_done_before_its_deadline(
    margin_s: float, runs: int
) -> None:
    clock = Clock()
    scheduler, gate = Scheduler(1, 10, clock, answer_s=ANSWER_S), opened()
    async with busy(scheduler):
        (task,) = await waiting(scheduler, gate, deadline=clock.now + 6 + ANSWER_S + margin_s)
        clock.now += 2  # the first job takes 2 s, the next one perhaps twice as long
    await ended(task)
    assert gate.runs == runs
    await scheduler.close()


async def test_a_job_that_comes_too_late_is_not_run_though_a_worker_is_free() -> None:
    clock = Clock()
    scheduler, gate = Scheduler(1, 10, clock), opened()
    with pytest.raises(DeadlineExpired):
        await ask(scheduler, gate, clock.now - 1)
    assert gate.runs == 0
    await scheduler.close()


async def test_a_waiting_job_whose_caller_left_at_its_deadline_counts_as_expired() -> None:
    # gRPC cancels a call when its deadline passes, which may be before a worker looks at the job.
    clock = Clock()
    scheduler = Scheduler(1, 10, clock)
    async with busy(scheduler):
        (task,) = await waiting(scheduler, opened(), deadline=clock.now + 1)
        clock.now += 2
        task.cancel()
        await turn()
        assert scheduler.shed == {"expired": 1}
    await scheduler.close()


async def taught(scheduler: Scheduler, clock: Clock, seconds: float) -> None:
    """Lets the scheduler know that jobs take so long; twice as long at most, since it has seen but one."""
    gate = Gate()
    (task,) = await waiting(scheduler, gate)
    await gate.began()
    clock.now += seconds
    gate.open()
    await ended(task)


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    clock = Clock()
    scheduler = Scheduler(2, 2, clock)
    await taught(scheduler, clock, 4)
    async with busy(scheduler):
        clock.now += 1
        queued = await waiting(scheduler, opened(), opened())
        with pytest.raises(QueueFull) as caught:
            await ask(scheduler, opened())
        # In 3 s the workers are free for the two that wait, 4 s later for the caller.
        assert caught.value.retry_after_s == 7
        assert caught.value.metadata == {"maxQueue": "2"}
        assert scheduler.shed == {"queue_full": 1}
        assert scheduler.depth == 2
    assert not any(isinstance(result, BaseException) for result in await ended(*queued))
    await scheduler.close()


class TestAdmission:
    """A job that would be late is refused at once."""

    @pytest.mark.parametrize(("short_s", "admitted"), [(0.0, True), (0.5, False)])
    async def test_goes_by_what_waits_and_what_jobs_take(self, short_s: float, *, admitted: bool) -> None:
        clock = Clock()
        scheduler = Scheduler(1, 10, clock, answer_s=ANSWER_S)
        await taught(scheduler, clock, 1)
        async with busy(scheduler):
            clock.now += 0.25
            queued = await waiting(scheduler, *(opened() for _ in range(3)))
            # 0.75 s until the worker is free, 4 s for those that wait and the job itself, 1 s times the root of their
            # number as they may take twice as long, and the way of the answer.
            deadline = clock.now + 0.75 + 4 + 1 * 2 + ANSWER_S - short_s
            if admitted:
                scheduler.check(("calls",), Priority.INTERACTIVE, deadline)
                queued += await waiting(scheduler, opened(), deadline=deadline)
                assert scheduler.depth == 4
            else:
                with pytest.raises(WouldBeLate) as caught:
                    await ask(scheduler, opened(), deadline)
                assert caught.value.retry_after_s == 0.5
                assert caught.value.metadata == {"waitMs": "3750", "maxWaitMs": "3250"}
                assert scheduler.shed == {"would_be_late": 1}
                assert scheduler.depth == 3
        assert not any(isinstance(result, BaseException) for result in await ended(*queued))
        await scheduler.close()

    @pytest.mark.parametrize("time_left_s", [None, 60])
    async def test_without_a_deadline_or_with_a_late_one_goes_by_the_longest_wait(
        self, time_left_s: float | None
    ) -> None:
        clock = Clock()
        scheduler = Scheduler(1, 10, clock, max_wait_s=2)
        await taught(scheduler, clock, 1)
        deadline = None if time_left_s is None else clock.now + time_left_s
        async with busy(scheduler):
            queued = await waiting(scheduler, opened())
            scheduler.check(("calls",), Priority.INTERACTIVE, deadline)
            queued += await waiting(scheduler, opened())
            with pytest.raises(WouldBeLate) as caught:
                scheduler.check(("calls",), Priority.INTERACTIVE, deadline)
            assert caught.value.retry_after_s == 1
        await ended(*queued)
        await scheduler.close()

    async def test_never_refuses_a_free_worker(self) -> None:
        clock = Clock()
        scheduler = Scheduler(1, 10, clock, max_wait_s=0)
        await taught(scheduler, clock, 1)
        assert await ask(scheduler, opened("done"), clock.now + 0.1) == "done"
        await scheduler.close()

    async def test_counts_only_what_others_have_before_the_caller(self) -> None:
        clock = Clock()
        scheduler = Scheduler(1, 10, clock, max_wait_s=2)
        await taught(scheduler, clock, 1)
        async with busy(scheduler):
            queued = await waiting(scheduler, opened(), opened())
            with pytest.raises(WouldBeLate):
                scheduler.check(("calls",), Priority.INTERACTIVE, None)
            scheduler.check(("others",), Priority.INTERACTIVE, None)  # has the second turn
        await ended(*queued)
        await scheduler.close()

    async def test_learns_nothing_from_jobs_that_fail(self) -> None:
        clock = Clock()
        scheduler = Scheduler(1, 10, clock, max_wait_s=0.5)
        await taught(scheduler, clock, 1)
        for _ in range(50):
            await ended(*await waiting(scheduler, opened(error=KeyError("broken"))))
        async with busy(scheduler):
            with pytest.raises(WouldBeLate):
                scheduler.check(("calls",), Priority.INTERACTIVE, None)
        await scheduler.close()

    async def test_what_was_admitted_is_begun_in_the_order_of_deadlines(self) -> None:
        clock = Clock()
        scheduler = Scheduler(1, 10, clock, max_wait_s=20)
        order: list[str] = []

        def named(name: str) -> Callable[[float], None]:
            return lambda _: order.append(name)

        async with busy(scheduler):
            names = {"late": clock.now + 30, "none": None, "early": clock.now + 10, "early, too": clock.now + 10}
            tasks = [asyncio.create_task(ask(scheduler, named(name), due)) for name, due in names.items()]
            await turn()
        await ended(*tasks)
        # Without a deadline, and with one beyond it, as if due at the longest wait: in the order of coming.
        assert order == ["early", "early, too", "late", "none"]
        await scheduler.close()


async def test_a_queue_of_nothing_still_lets_free_workers_be_used() -> None:
    scheduler = Scheduler(2, 0, Clock())
    async with busy(scheduler):
        with pytest.raises(QueueFull):
            await ask(scheduler, opened())
    assert await ask(scheduler, opened("again")) == "again"
    await scheduler.close()


async def test_an_exception_stays_with_its_job() -> None:
    scheduler = Scheduler(1, 10, Clock())
    async with busy(scheduler):
        tasks = await waiting(scheduler, opened("a"), opened(error=KeyError("b")), opened("c"))
    results = await ended(*tasks)
    assert results[0] == "a"
    assert isinstance(results[1], KeyError)
    assert results[2] == "c"
    assert await ask(scheduler, opened("d")) == "d"
    await scheduler.close()


@pytest.mark.parametrize("error", [None, ValueError("nobody listens")])
async def test_a_caller_that_leaves_while_its_job_runs_disturbs_nobody(error: BaseException | None) -> None:
    scheduler = Scheduler(1, 10, Clock())
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    gate = Gate("unheard", error)
    (task,) = await waiting(scheduler, gate)
    await gate.began()
    (next_one,) = await waiting(scheduler, opened("next"))
    task.cancel()
    await turn()
    assert task.cancelled()
    assert not next_one.done()  # the worker is not free yet
    gate.open()
    assert await ended(next_one) == ["next"]
    await scheduler.close()
    gc.collect()
    assert complaints == []
    assert scheduler.shed == {}  # it was run


async def test_of_a_job_that_fails_when_its_caller_has_left_nothing_stays() -> None:
    gc.disable()  # what only a collection finds would stay for long
    try:
        scheduler, gate = Scheduler(1, 10, Clock()), Gate(error=ValueError("nobody listens"))
        gone = threading.Event()
        weakref.finalize(gate, gone.set)
        (task,) = await waiting(scheduler, gate)
        await gate.began()
        task.cancel()
        await asyncio.wait({task})
        gate.open()
        del task, gate
        await scheduler.close()
        assert await asyncio.to_thread(gone.wait, TIMEOUT_S)  # its thread has it for a moment
    finally:
        gc.enable()


async def test_closing_waits_for_what_was_accepted_and_refuses_the_rest() -> None:
    scheduler = Scheduler(1, 10, Clock())
    running, queued = Gate("running"), opened("queued")
    tasks = await waiting(scheduler, running, queued)
    await running.began()
    closing = asyncio.create_task(scheduler.close())
    await turn()
    with pytest.raises(ShuttingDown):
        await ask(scheduler, opened())
    assert not closing.done()
    running.open()
    assert await ended(*tasks) == ["running", "queued"]
    assert await ended(closing) == [None]


async def test_closing_waits_for_a_job_whose_caller_left() -> None:
    scheduler = Scheduler(1, 10, Clock())
    gate = Gate()
    (task,) = await waiting(scheduler, gate)
    await gate.began()
    task.cancel()
    closing = asyncio.create_task(scheduler.close())
    await turn()
    assert not closing.done()
    gate.open()
    assert await ended(closing) == [None]


async def test_closing_ends_when_the_last_waiting_job_is_cancelled_or_expires() -> None:
    clock = Clock()
    scheduler = Scheduler(1, 10, clock)
    async with busy(scheduler):
        cancelled, expired = await waiting(scheduler, opened(), opened(), deadline=clock.now + 1)
        cancelled.cancel()
        closing = asyncio.create_task(scheduler.close())
        clock.now += 2
    await ended(expired)
    assert await ended(closing) == [None]


async def test_closing_an_idle_scheduler_ends_at_once_and_twice() -> None:
    scheduler = Scheduler(1, 10, Clock())
    async with asyncio.timeout(TIMEOUT_S):
        await scheduler.close()
        await scheduler.close()


async def test_the_depth_is_what_waits_and_not_what_runs() -> None:
    scheduler = Scheduler(2, 10, Clock())
    assert scheduler.depth == 0
    async with busy(scheduler):
        assert scheduler.depth == 0
        tasks = await waiting(scheduler, opened(), opened(), opened())
        assert scheduler.depth == 3
    await ended(*tasks)
    assert scheduler.depth == 0
    with suppress(ShuttingDown):
        await scheduler.close()


async def test_flows_take_turns_whatever_the_order_of_asking() -> None:
    scheduler = Scheduler(1, 10)
    order: list[str] = []
    async with busy(scheduler):
        tasks = [
            asyncio.create_task(ask(scheduler, lambda _, name=name: order.append(name), flow=tuple(name[:-1])))
            for name in ("a1", "a2", "a3", "b1", "c1", "b2")
        ]
        await turn()
        assert scheduler.depth == 6
    await asyncio.gather(*tasks)
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]


async def test_each_flow_has_a_queue_of_its_own() -> None:
    scheduler = Scheduler(1, 1)
    async with busy(scheduler):
        waiting = [asyncio.create_task(ask(scheduler, opened(flow), flow=(flow,))) for flow in ("a", "b")]
        await turn()
        with pytest.raises(QueueFull):
            await ask(scheduler, opened(), flow=("a",))
        assert scheduler.depth == 2
    assert await asyncio.gather(*waiting) == ["a", "b"]


async def test_jobs_that_have_left_do_not_wait() -> None:
    scheduler = Scheduler(1, 10)
    async with busy(scheduler):
        tasks = [asyncio.create_task(ask(scheduler, opened(), flow=(object(),))) for _ in range(3)]
        await turn()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert scheduler.depth == 0


async def test_work_can_be_chosen_when_a_worker_is_free() -> None:
    scheduler = Scheduler(1, 10)
    newest = ["old"]
    async with busy(scheduler):
        task = asyncio.create_task(scheduler.submit_chosen(lambda: opened(newest[0]), (), Priority.INTERACTIVE))
        await turn()
        newest[0] = "new"
    assert await task == "new"


async def batch_job(scheduler: Scheduler, gate: Gate) -> object:
    return await scheduler.submit_chosen(lambda: gate, ("batch",), Priority.BATCH)


async def test_interactive_jobs_that_run_are_counted_and_no_others() -> None:
    scheduler = Scheduler(2, 10)
    recording = Gate()
    task = asyncio.create_task(batch_job(scheduler, recording))
    await recording.began()
    assert scheduler.interactive == 0
    async with busy(scheduler):
        waiting = asyncio.create_task(ask(scheduler, opened()))
        await turn()
        assert scheduler.interactive == scheduler.workers
    recording.open()
    await asyncio.gather(task, waiting)
    assert scheduler.interactive == 0


async def test_interactive_work_never_waits_for_batch_work() -> None:
    scheduler = Scheduler(2, 10)
    gates = [Gate() for _ in range(4)]
    tasks = [asyncio.create_task(batch_job(scheduler, gate)) for gate in gates]
    for gate in gates[:2]:
        await gate.began()  # it has all that nobody else wants
    assert await ask(scheduler, opened("at once")) == "at once"
    async with busy(scheduler):
        for gate in gates[:2]:
            gate.open()
        await gates[2].began()
        await asyncio.gather(*tasks[:2])
        await turn()
        assert gates[3].runs == 0  # one gets on
        assert scheduler.depth == 1
    for gate in gates:
        gate.open()
    await asyncio.gather(*tasks)
    await scheduler.close()


async def test_batch_work_that_nobody_bounds_has_a_queue_of_its_own_in_each_flow() -> None:
    scheduler = Scheduler(1, 1, Clock())
    gate = Gate("running")

    def copy(work: Gate, flow: str) -> asyncio.Task[object]:
        return asyncio.create_task(scheduler.submit(work, (flow,), Priority.BATCH))

    async with busy(scheduler):
        running = copy(gate, "a")  # one gets on, whatever interactive work there is
        await gate.began()
        queued = [copy(opened(flow), flow) for flow in ("a", "b")]
        await turn()
        with pytest.raises(QueueFull) as caught:
            await copy(opened(), "a")
        assert caught.value.metadata == {"maxQueue": "1"}
        assert (scheduler.depth, scheduler.shed) == (2, {"queue_full": 1})
        (called,) = await waiting(scheduler, opened("call"))  # what waits as batch takes no place of a call
        gate.open()
    assert await ended(running, *queued, called) == ["running", "a", "b", "call"]
    await scheduler.close()


async def test_batch_work_that_comes_too_late_or_is_given_up_is_not_run() -> None:
    clock = Clock()
    scheduler = Scheduler(1, 10, clock)
    held, gates = Gate(), [opened(), opened(), opened("in time")]
    running = asyncio.create_task(scheduler.submit(held, (), Priority.BATCH))
    await held.began()
    late, left, timely = (
        asyncio.create_task(scheduler.submit(gate, (), Priority.BATCH, clock.now + deadline_s))
        for gate, deadline_s in zip(gates, (1, 9, 9), strict=True)
    )
    await turn()
    left.cancel()
    clock.now += 2
    held.open()
    results = await ended(late, timely, running)
    assert isinstance(results[0], DeadlineExpired)
    assert results[1] == "in time"
    assert left.cancelled()
    assert [gate.runs for gate in gates] == [0, 0, 1]
    assert scheduler.shed == {"expired": 1, "cancelled": 1}
    await scheduler.close()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own only there")
async def test_the_system_prefers_the_loop_and_then_interactive_work() -> None:
    def priority(_: float) -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    scheduler = Scheduler(1, 1)
    batch = await scheduler.submit_chosen(lambda: priority, (), Priority.BATCH)
    copy = await scheduler.submit(priority, (), Priority.BATCH)
    interactive = await ask(scheduler, priority)
    loop = os.getpriority(os.PRIO_PROCESS, 0)
    assert (batch, copy, interactive) == (min(loop + 14, 19), min(loop + 14, 19), min(loop + 4, 19))
    await scheduler.close()


async def test_work_that_is_chosen_late_is_bounded_by_its_owner_alone() -> None:
    scheduler = Scheduler(1, 0)
    async with busy(scheduler):
        tasks = [
            asyncio.create_task(scheduler.submit_chosen(lambda: opened("done"), ("a",), Priority.INTERACTIVE))
            for _ in range(5)
        ]
        await turn()
        assert scheduler.depth == 5
    assert await asyncio.gather(*tasks) == ["done"] * 5


class TestUntilUnused:
    """What a job uses must last until nobody needs it."""

    async def test_ends_at_once_where_no_job_uses_it(self) -> None:
        scheduler = Scheduler(1, 10, Clock())
        async with busy(scheduler):
            (task,) = await waiting(scheduler, opened(), uses="other")
            async with asyncio.timeout(TIMEOUT_S):
                await scheduler.until_unused("thing")
        await ended(task)
        await scheduler.close()

    async def test_waits_for_jobs_that_run_and_jobs_that_wait_but_not_for_others(self) -> None:
        scheduler = Scheduler(1, 10, Clock())
        first, second, other = Gate(), Gate(), Gate()
        tasks = [*await waiting(scheduler, first, second, uses="thing"), *await waiting(scheduler, other)]
        unused = asyncio.create_task(scheduler.until_unused("thing"))
        for gate in (first, second):
            await gate.began()
            assert not unused.done()
            gate.open()
        await ended(unused)
        assert not tasks[2].done()
        other.open()
        await ended(*tasks)
        await scheduler.close()

    async def test_waits_for_a_job_that_runs_though_its_caller_has_left(self) -> None:
        scheduler, gate = Scheduler(1, 10, Clock()), Gate()
        (task,) = await waiting(scheduler, gate, uses="thing")
        await gate.began()
        task.cancel()
        unused = asyncio.create_task(scheduler.until_unused("thing"))
        await turn()
        assert task.cancelled()
        assert not unused.done()
        gate.open()
        assert await ended(unused) == [None]
        await scheduler.close()

    @pytest.mark.parametrize("how", ["cancelled", "expired"])
    async def test_does_not_wait_for_jobs_that_are_never_run(self, how: str) -> None:
        clock = Clock()
        scheduler = Scheduler(1, 10, clock)
        async with busy(scheduler):
            (task,) = await waiting(scheduler, opened(), deadline=clock.now + 1, uses="thing")
            unused = asyncio.create_task(scheduler.until_unused("thing"))
            await turn()
            if how == "cancelled":
                task.cancel()
                assert await ended(unused) == [None]
            clock.now += 2
        assert await ended(unused) == [None]
        await ended(task)
        await scheduler.close()

    async def test_two_may_wait_for_the_same(self) -> None:
        scheduler, gate = Scheduler(1, 10, Clock()), Gate()
        (task,) = await waiting(scheduler, gate, uses="thing")
        both = [asyncio.create_task(scheduler.until_unused("thing")) for _ in range(2)]
        await gate.began()
        gate.open()
        assert await ended(*both) == [None, None]
        await ended(task)
        await scheduler.close()
