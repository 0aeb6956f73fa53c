"""What holds for every sequence of submitting, leaving, waiting and finishing.

The threads are ours as well as the clock, so that every example runs the same way each time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import event, given
from hypothesis import strategies as st
from support.threads import Threads

from detector_grpc.errors import DeadlineExpired, QueueFull, WouldBeLate
from detector_grpc.serving.scheduler import Priority, Scheduler

TIMEOUT_S = 20
FLOWS = 3


@dataclass
class Submit:
    deadline_s: float | None
    fails: bool
    flow: int
    priority: Priority


@dataclass
class Leave:
    which: int


@dataclass
class Finish:
    which: int


@dataclass
class Pass:
    seconds: int


@dataclass
class Turn:
    """Lets the loop run once: leaving and finishing may fall into the same turn, or not."""


steps = st.lists(
    st.one_of(
        st.builds(
            Submit,
            st.one_of(st.none(), st.integers(0, 5)),
            st.booleans(),
            st.integers(0, FLOWS - 1),
            st.sampled_from(Priority),
        ),
        st.builds(Leave, st.integers(0, 30)),
        st.builds(Finish, st.integers(0, 30)),
        st.builds(Pass, st.integers(1, 3)),
        st.just(Turn()),
    ),
    min_size=20,  # of lists without a least size most are too short for anybody to have to wait
    max_size=40,
)


@dataclass(eq=False)
class Job:
    number: int
    deadline: float | None
    fails: bool
    task: asyncio.Task[object] | None = None
    began_at: list[float] = field(default_factory=list)
    left: bool = False


class World:
    """A scheduler, its clock, its threads and the jobs."""

    def __init__(self, workers: int, max_queue: int) -> None:
        self.now = 0.0
        self.jobs: list[Job] = []
        self.scheduler = Scheduler(workers, max_queue, lambda: self.now)
        self.threads = Threads(lambda: self.now)
        self.scheduler._threads = dict.fromkeys(Priority, self.threads)  # type: ignore[arg-type]

    def submit(self, step: Submit) -> None:
        deadline = None if step.deadline_s is None else self.now + step.deadline_s
        job = Job(len(self.jobs), deadline, step.fails)

        def work(waited_s: float) -> int:
            assert waited_s >= 0
            job.began_at.append(self.threads.began_at)
            if job.fails:
                raise KeyError(job.number)
            return job.number

        job.task = asyncio.create_task(self.scheduler.submit(work, (step.flow,), step.priority, deadline))
        self.jobs.append(job)

    async def take(self, step: object) -> None:
        match step:
            case Submit():
                self.submit(step)
            case Leave(which) if self.jobs:
                job = self.jobs[which % len(self.jobs)]
                assert job.task is not None
                job.left |= job.task.cancel()
            case Finish(which):
                self.threads.finish(which)
            case Pass(seconds):
                self.now += seconds
            case Turn():
                await asyncio.sleep(0)

    async def finish_all(self) -> None:
        """Ends what runs until nothing is left; a job that nobody ever runs stays, and the caller's timeout tells."""
        quiet = 0
        while quiet < 10:
            quiet = 0 if self.threads.finish() else quiet + 1
            await asyncio.sleep(0)


async def play(workers: int, max_queue: int, script: list[object]) -> None:
    world = World(workers, max_queue)
    for step in script:
        await world.take(step)
        assert world.scheduler.depth <= len(Priority) * FLOWS * max_queue
    await world.finish_all()
    tasks = [job.task for job in world.jobs if job.task is not None]
    assert all(task.done() for task in tasks)  # every submit ends
    results = await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(TIMEOUT_S):
        await world.scheduler.close()
    assert world.scheduler.depth == 0
    assert world.threads.most <= 2 * workers
    for job, result in zip(world.jobs, results, strict=True):
        check(job, result)
    told = sum(isinstance(result, (QueueFull, DeadlineExpired, WouldBeLate)) for result in results)
    assert told <= sum(world.scheduler.shed.values()) <= sum(not job.began_at for job in world.jobs)


def check(job: Job, result: object) -> None:
    assert len(job.began_at) <= 1
    if job.began_at and job.deadline is not None:
        assert job.began_at[0] < job.deadline
    match result:
        case asyncio.CancelledError():
            assert job.left
        case DeadlineExpired():
            assert job.deadline is not None
            assert not job.began_at
        case QueueFull() | WouldBeLate():
            assert not job.began_at
        case KeyError():
            assert result.args == (job.number,)
            assert job.fails
            assert job.began_at
        case _:
            assert result == job.number
            assert not job.fails
            assert job.began_at


@given(st.integers(1, 3), st.integers(0, 4), steps)
def test_every_job_ends_in_one_of_the_ways_that_are_drawn(workers: int, max_queue: int, script: list[object]) -> None:
    asyncio.run(play(workers, max_queue, script))


@dataclass
class Arrival:
    after_s: float
    patience_s: float


arrivals = st.lists(st.builds(Arrival, st.floats(0, 2), st.floats(0.5, 12)), min_size=1, max_size=40)


async def keep_promises(workers: int, script: list[Arrival]) -> int:
    """Serves arrivals of one flow, each for one second; returns how many were refused."""
    world = World(workers, len(script))
    world.scheduler._service_time.add(1)

    async def go_on_until(then: float) -> None:
        while (begun := world.threads.first_began_at) is not None and begun + 1 <= then:
            world.now = begun + 1
            world.threads.finish()
            for _ in range(5):
                await asyncio.sleep(0)
        world.now = then

    now = 0.0
    for arrival in script:
        now += arrival.after_s
        await go_on_until(now)
        world.submit(Submit(arrival.patience_s, fails=False, flow=0, priority=Priority.INTERACTIVE))
        await asyncio.sleep(0)
    await go_on_until(now + len(script) + 1)
    results = await asyncio.gather(*(job.task for job in world.jobs if job.task), return_exceptions=True)
    await world.scheduler.close()
    for job, arrival, result in zip(world.jobs, script, results, strict=True):
        if isinstance(result, WouldBeLate):
            assert result.retry_after_s > 0
            continue
        assert result == job.number
        assert job.deadline is not None
        # Only who found a worker free may be late: nobody could have served that job earlier.
        assert job.began_at[0] + 1 <= job.deadline or arrival.patience_s < 1
    return sum(isinstance(result, WouldBeLate) for result in results)


@given(st.integers(1, 3), arrivals)
def test_what_is_admitted_is_done_in_time_where_jobs_take_what_they_did(workers: int, script: list[Arrival]) -> None:
    event(f"{asyncio.run(keep_promises(workers, script)) > 0}")
