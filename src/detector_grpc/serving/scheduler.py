"""Who gets a worker, and when: a bounded queue in front of a fixed number of threads.

Jobs belong to flows, which take turns: callers do, and of each caller its calls together and its streams together.
Interactive work has all workers and never waits for batch work. That has threads of its own, which the system lets wait
for others: one always, so that it gets on, and as many more as interactive work leaves free.

States of a job, and all the ways between them:

    submit ──► waiting ──► running ──► done (value or error)
       │          │ ├────► done        there is nothing to do any more
       │          │ └────► expired     it can no longer be done before its deadline: DeadlineExpired
       │          └──────► cancelled   the caller left: nobody gets an answer
       └──► refused                    it would be late, the flow's queue is full, or all are closed: WouldBeLate,
                                       QueueFull, ShuttingDown

Invariants: a job is run at most once; an expired or cancelled job is never run; a waiting job that is cancelled leaves
the queue at once, with everything it holds; what happens to one job never touches another. All state belongs to the
event loop; the threads see only a function to call.

A job is admitted if it would be done in time behind all that waits before it, in the order of coming, even if all of
them together take as long as few do. Under overload it is those that just make it who are admitted: with less to spare
many would be late, and worked on in vain. Its flow may then serve more urgent jobs first, and still every one is done
in time: one that is passed is done at the latest when the last of those that passed it would have been, which is before
the deadline of that one, and so before its own, which is later (the exchange argument for earliest deadline first;
Jackson 1955). Others who come later take their turns between, and jobs may take even longer; so a job may still expire.
A free worker is never refused, so that what is known of how long jobs take cannot be wrong for ever.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from detector_grpc.errors import DeadlineExpired, QueueFull, ShuttingDown, WouldBeLate, let_go
from detector_grpc.serving.cpu import BATCH_WORK, WORK, stand_back
from detector_grpc.serving.service_time import ServiceTime
from detector_grpc.serving.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector_grpc.serving.turns import Flow

T = TypeVar("T")
Work: TypeAlias = "Callable[[float], Any]"

SHED_REASONS = ("would_be_late", "queue_full", "expired", "cancelled")


class Priority(Enum):
    """Whether somebody, or a live camera, waits for the answer; nobody does for a recording or a copy."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


@dataclass(eq=False)
class _Job:
    choose: Callable[[], Work | None]
    future: asyncio.Future[Any]
    submitted: float
    deadline: float | None
    priority: Priority
    uses: object
    waited: bool


class Scheduler:
    """Runs jobs on worker threads. Belongs to one event loop.

    Args:
        workers: Most jobs of one priority that run at once.
        max_queue: Most jobs of one flow and priority that may wait.
        clock: Seconds, monotonic; the clock that deadlines are told in.
        max_wait_s: Seconds that a job may be expected to wait, however late its deadline is.
        answer_s: Seconds that are kept of a deadline for the way of the answer to who waits for it.

    Attributes:
        shed: Number of jobs that were not run, by reason; see SHED_REASONS.
    """

    def __init__(
        self,
        workers: int,
        max_queue: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        max_wait_s: float = inf,
        answer_s: float = 0.0,
    ) -> None:
        self.workers = workers
        self.shed: Counter[str] = Counter()
        self._max_queue = max_queue
        self._max_wait_s = max_wait_s
        self._answer_s = answer_s
        self._clock = clock
        self._threads = {
            Priority.INTERACTIVE: ThreadPoolExecutor(workers, "worker", stand_back, (WORK,)),
            Priority.BATCH: ThreadPoolExecutor(workers, "batch-worker", stand_back, (BATCH_WORK,)),
        }
        self._waiting = {priority: Turns[_Job]() for priority in Priority}
        self._unfinished: set[_Job] = set()
        # With when they began.
        self._running: dict[Priority, dict[_Job, float]] = {priority: {} for priority in Priority}
        self._service_time = ServiceTime()
        self._finished = asyncio.Event()  # set for a moment whenever a job is over
        self._closed = False

    @property
    def depth(self) -> int:
        """Number of jobs that wait."""
        return sum(map(len, self._waiting.values()))

    @property
    def interactive(self) -> int:
        """Number of interactive jobs that run; any thread may ask."""
        return len(self._running[Priority.INTERACTIVE])

    def check(self, flow: Flow, priority: Priority, deadline: float | None) -> None:
        """Whether a job would be taken now; a caller who is refused need not send it.

        Raises:
            QueueFull: Too many jobs of the flow wait.
            WouldBeLate: It would be done after its deadline, or would wait too long.
        """
        if self._closed or self._is_free(priority):
            return
        wait_s, done_s = self._expected(flow, priority)
        if self._waiting[priority].waiting(flow) >= self._max_queue:
            self.shed["queue_full"] += 1
            raise QueueFull(self._max_queue, wait_s)
        late_s = wait_s - self._max_wait_s
        if deadline is not None:
            late_s = max(late_s, self._clock() + done_s + self._answer_s - deadline)
        if late_s > 0:
            self.shed["would_be_late"] += 1
            raise WouldBeLate(wait_s, wait_s - late_s)

    async def submit(
        self,
        work: Callable[[float], T],
        flow: Flow,
        priority: Priority,
        deadline: float | None = None,
        uses: object = None,
    ) -> T:
        """Runs `work` on a worker thread and returns its value.

        Args:
            work: Called with the seconds it waited.
            flow: What the job belongs to.
            priority: Whether it passes others.
            deadline: Time of `clock` at which the job is to be done, or is not begun; None for never.
            uses: What must last until the job is over, see `until_unused`.

        Raises:
            QueueFull, WouldBeLate: See `check`.
            ShuttingDown: `close` was called.
            DeadlineExpired: The job waited for so long that it would be late.
            Exception: Whatever `work` raises.
        """
        self.check(flow, priority, deadline)
        value: T = await self._submit(lambda: work, deadline, flow, priority, uses)
        return value

    async def submit_chosen(
        self, choose: Callable[[], Callable[[float], T] | None], flow: Flow, priority: Priority, uses: object = None
    ) -> T | None:
        """As `submit`, with work that is chosen when a worker is free, on the loop; `choose` must not raise.

        Where it chooses None there is nothing to do any more, and the value is None at once. How many jobs wait is
        bounded by the owner of the flow.
        """
        value: T | None = await self._submit(choose, None, flow, priority, uses)
        return value

    async def _submit(
        self,
        choose: Callable[[], Work | None],
        deadline: float | None,
        flow: Flow,
        priority: Priority,
        uses: object,
    ) -> Any:  # noqa: ANN401
        if self._closed:
            raise ShuttingDown
        now, future = self._clock(), asyncio.get_running_loop().create_future()
        job = _Job(choose, future, now, deadline, priority, uses, waited=not self._is_free(priority))
        self._unfinished.add(job)
        self._waiting[priority].append(job, flow, min(now + self._max_wait_s, inf if deadline is None else deadline))
        self._fill()
        try:
            return await job.future
        except asyncio.CancelledError:
            if self._waiting[priority].remove(job, flow):
                expired = deadline is not None and self._clock() >= deadline
                self.shed["expired" if expired else "cancelled"] += 1
                self._end(job)
            raise

    async def until_unused(self, thing: object) -> None:
        """Waits until no job uses it, those included that still run though their callers have left."""
        while any(job.uses is thing for job in self._unfinished):
            await self._finished.wait()

    async def close(self) -> None:
        """Refuses new jobs, waits until all accepted ones are done, and ends the threads."""
        self._closed = True
        while self._unfinished:
            await self._finished.wait()
        for threads in self._threads.values():
            threads.shutdown(wait=False)

    def _fill(self) -> None:
        """Gives free workers the jobs whose turn it is."""
        for priority, waiting in self._waiting.items():
            while waiting and self._is_free(priority):
                self._begin(waiting.next())

    def _is_free(self, priority: Priority) -> bool:
        """Whether there is a worker for a job of this priority."""
        running = len(self._running[priority])
        if priority is Priority.INTERACTIVE:
            return running < self.workers
        return not running or sum(map(len, self._running.values())) < self.workers

    def _begin(self, job: _Job) -> None:
        now = self._clock()
        if job.future.cancelled():  # its caller left in this very turn of the loop
            self.shed["cancelled"] += 1
            self._end(job)
        elif self._would_be_late(job, now):
            self.shed["expired"] += 1
            job.future.set_exception(DeadlineExpired(now - job.submitted))
            self._end(job)
        elif (work := job.choose()) is None:
            job.future.set_result(None)
            self._end(job)
        else:
            self._running[job.priority][job] = now
            self._threads[job.priority].submit(self._run, job, work, now - job.submitted)

    def _run(self, job: _Job, work: Work, waited_s: float) -> None:
        """Does the work; the only method that runs on a worker thread."""
        value: Any = None
        error: BaseException | None = None
        try:
            value = work(waited_s)
        except BaseException as raised:  # noqa: BLE001 - it is raised again, where the job was submitted
            error = raised
        job.future.get_loop().call_soon_threadsafe(self._finish, job, value, error)

    def _finish(self, job: _Job, value: Any, error: BaseException | None) -> None:  # noqa: ANN401
        began = self._running[job.priority].pop(job)
        if job.priority is Priority.INTERACTIVE and error is None:  # one that fails does so early
            self._service_time.add(self._clock() - began)
        if job.future.done():  # its caller left while it ran
            if error is not None:
                let_go(error)
        elif error is None:
            job.future.set_result(value)
        else:
            job.future.set_exception(error)
        self._end(job)
        self._fill()

    def _would_be_late(self, job: _Job, now: float) -> bool:
        """Whether it is too late to begin a job; one that never waited is tried as long as it can be."""
        takes_s = self._service_time.most_s() + self._answer_s if job.waited else 0.0
        return job.deadline is not None and now + takes_s >= job.deadline

    def _end(self, job: _Job) -> None:
        self._unfinished.remove(job)
        self._finished.set()  # wakes those that wait; they look for themselves
        self._finished.clear()

    def _expected(self, flow: Flow, priority: Priority) -> tuple[float, float]:
        """Seconds until a worker is free for one more job of the flow, and until few such jobs are not done.

        All workers work.
        """
        now, takes_s = self._clock(), self._service_time.mean_s
        left_s = sorted(max(0.0, began + takes_s - now) for began in self._running[priority].values())
        rounds, place = divmod(self._waiting[priority].ahead(flow), len(left_s))
        return left_s[place] + rounds * takes_s, left_s[place] + self._service_time.most_s(rounds + 1)
