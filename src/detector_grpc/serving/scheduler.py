"""Who gets a worker, and when: a bounded queue in front of a fixed number of threads.

Jobs belong to flows, which take turns: callers do, and of each caller its calls together and its streams together.
Interactive work has all workers and never waits for batch work. That has threads of its own, which the system lets wait
for others: one always, so that it gets on, and as many more as interactive work leaves free.

States of a job, and all the ways between them:

    submit ──► waiting ──► running ──► done (value or error)
       │          │ └────► expired     the deadline passed before a worker was free: DeadlineExpired
       │          └──────► cancelled   the caller left: nobody gets an answer
       └──► refused                    the flow's queue is full, or all are closed: QueueFull, ShuttingDown

Invariants: a job is run at most once; an expired or cancelled job is never run; a waiting job that is cancelled leaves
the queue at once, with everything it holds; what happens to one job never touches another. All state belongs to the
event loop; the threads see only a function to call.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from detector_grpc.errors import DeadlineExpired, QueueFull, ShuttingDown
from detector_grpc.serving.cpu import stand_back
from detector_grpc.serving.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector_grpc.serving.turns import Flow

T = TypeVar("T")
Work: TypeAlias = "Callable[[float], Any]"

SHED_REASONS = ("queue_full", "expired", "cancelled")

# Weight of the newest job in the running mean of service times, from which refused callers are told when to come back.
_SMOOTHING = 0.1


class Priority(Enum):
    """Whether somebody, or a live camera, waits for the answer; nobody does for a recording or a copy."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


@dataclass(eq=False)
class _Job:
    choose: Callable[[], Work]
    future: asyncio.Future[Any]
    submitted: float
    deadline: float | None
    priority: Priority
    uses: object


class Scheduler:
    """Runs jobs on worker threads. Belongs to one event loop.

    Args:
        workers: Most jobs of one priority that run at once.
        max_queue: Most jobs of one flow and priority that may wait.
        clock: Seconds, monotonic; the clock that deadlines are told in.

    Attributes:
        shed: Number of jobs that were not run, by reason: "queue_full", "expired", "cancelled".
    """

    def __init__(self, workers: int, max_queue: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.workers = workers
        self.shed: Counter[str] = Counter()
        self._max_queue = max_queue
        self._clock = clock
        self._threads = {
            Priority.INTERACTIVE: ThreadPoolExecutor(workers, "worker"),
            Priority.BATCH: ThreadPoolExecutor(workers, "batch-worker", initializer=stand_back),
        }
        self._waiting = {priority: Turns[_Job]() for priority in Priority}
        self._unfinished: set[_Job] = set()
        self._running = Counter[Priority]()
        self._service_s = 0.0
        self._finished = asyncio.Event()  # set for a moment whenever a job is over
        self._closed = False

    @property
    def depth(self) -> int:
        """Number of jobs that wait."""
        return sum(map(len, self._waiting.values()))

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
            deadline: Time of `clock` after which the job is not begun; None for never.
            uses: What must last until the job is over, see `until_unused`.

        Raises:
            QueueFull: Too many jobs of the flow wait.
            ShuttingDown: `close` was called.
            DeadlineExpired: The deadline passed while the job waited.
            Exception: Whatever `work` raises.
        """
        waiting = self._waiting[priority].waiting(flow)
        if not self._is_free(priority) and waiting >= self._max_queue and not self._closed:
            self.shed["queue_full"] += 1
            raise QueueFull(self._max_queue, self._estimated_wait_s(priority))
        return await self._submit(lambda: work, deadline, flow, priority, uses)

    async def submit_chosen(
        self, choose: Callable[[], Callable[[float], T]], flow: Flow, priority: Priority, uses: object = None
    ) -> T:
        """As `submit`, with work that is chosen when a worker is free, on the loop; `choose` must not raise.

        How many jobs wait is bounded by the owner of the flow.
        """
        return await self._submit(choose, None, flow, priority, uses)

    async def _submit(
        self,
        choose: Callable[[], Callable[[float], T]],
        deadline: float | None,
        flow: Flow,
        priority: Priority,
        uses: object,
    ) -> T:
        if self._closed:
            raise ShuttingDown
        job = _Job(choose, asyncio.get_running_loop().create_future(), self._clock(), deadline, priority, uses)
        self._unfinished.add(job)
        self._waiting[priority].append(job, flow)
        self._fill()
        try:
            value: T = await job.future
        except asyncio.CancelledError:
            if self._waiting[priority].remove(job, flow):
                self.shed["expired" if self._expired(job) else "cancelled"] += 1
                self._end(job)
            raise
        return value

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
        if priority is Priority.INTERACTIVE:
            return self._running[priority] < self.workers
        return not self._running[priority] or self._running.total() < self.workers

    def _begin(self, job: _Job) -> None:
        now = self._clock()
        if job.future.cancelled():  # its caller left in this very turn of the loop
            self.shed["cancelled"] += 1
            self._end(job)
        elif self._expired(job):
            self.shed["expired"] += 1
            job.future.set_exception(DeadlineExpired(now - job.submitted))
            self._end(job)
        else:
            self._running[job.priority] += 1
            self._threads[job.priority].submit(self._run, job, job.choose(), now)

    def _run(self, job: _Job, work: Work, began: float) -> None:
        """Does the work; the only method that runs on a worker thread."""
        value: Any = None
        error: BaseException | None = None
        try:
            value = work(began - job.submitted)
        except BaseException as raised:  # noqa: BLE001 - it is raised again, where the job was submitted
            error = raised
        job.future.get_loop().call_soon_threadsafe(self._finish, job, began, value, error)

    def _finish(self, job: _Job, began: float, value: Any, error: BaseException | None) -> None:  # noqa: ANN401
        self._running[job.priority] -= 1
        if job.priority is Priority.INTERACTIVE:
            self._service_s += _SMOOTHING * (self._clock() - began - self._service_s)
        if not job.future.done():  # else its caller left while it ran
            if error is None:
                job.future.set_result(value)
            else:
                job.future.set_exception(error)
        self._end(job)
        self._fill()

    def _expired(self, job: _Job) -> bool:
        return job.deadline is not None and self._clock() >= job.deadline

    def _end(self, job: _Job) -> None:
        self._unfinished.remove(job)
        self._finished.set()  # wakes those that wait; they look for themselves
        self._finished.clear()

    def _estimated_wait_s(self, priority: Priority) -> float:
        return self._service_s * (len(self._waiting[priority]) + 1) / self.workers
