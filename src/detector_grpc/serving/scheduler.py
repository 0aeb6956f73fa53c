"""Who gets a worker, and when: a bounded queue in front of a fixed number of threads.

States of a job, and all the ways between them:

    submit ──► waiting ──► running ──► done (value or error)
       │          │ └────► expired     the deadline passed before a worker was free: DeadlineExpired
       │          └──────► cancelled   the caller left: nobody gets an answer
       └──► refused                    the queue is full or closed: QueueFull, ShuttingDown

Invariants: a job is run at most once; an expired or cancelled job is never run; a waiting job that is cancelled leaves
the queue at once, with everything it holds; what happens to one job never touches another. All state belongs to the
event loop; the threads see only a function to call.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from detector_grpc.errors import DeadlineExpired, QueueFull, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

SHED_REASONS = ("queue_full", "expired", "cancelled")

# Weight of the newest job in the running mean of service times, from which refused callers are told when to come back.
_SMOOTHING = 0.1


@dataclass(eq=False)
class _Job:
    work: Callable[[float], Any]
    future: asyncio.Future[Any]
    submitted: float
    deadline: float | None


class Scheduler:
    """Runs jobs on worker threads, first come, first served. Belongs to one event loop.

    Args:
        workers: Number of threads.
        max_queue: Most jobs that may wait.
        clock: Seconds, monotonic; the clock that deadlines are told in.

    Attributes:
        shed: Number of jobs that were not run, by reason: "queue_full", "expired", "cancelled".
    """

    def __init__(self, workers: int, max_queue: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.workers = workers
        self.shed: Counter[str] = Counter()
        self._max_queue = max_queue
        self._clock = clock
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="worker")
        self._waiting: deque[_Job] = deque()
        self._running = 0
        self._service_s = 0.0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    @property
    def depth(self) -> int:
        """Number of jobs that wait."""
        return len(self._waiting)

    async def submit(self, work: Callable[[float], T], deadline: float | None = None) -> T:
        """Runs `work` on a worker thread and returns its value.

        Args:
            work: Called with the seconds it waited.
            deadline: Time of `clock` after which the job is not begun; None for never.

        Raises:
            QueueFull: Too many jobs wait.
            ShuttingDown: `close` was called.
            DeadlineExpired: The deadline passed while the job waited.
            Exception: Whatever `work` raises.
        """
        if self._closed:
            raise ShuttingDown
        if self._running == self.workers and len(self._waiting) >= self._max_queue:
            self.shed["queue_full"] += 1
            raise QueueFull(self._max_queue, self._estimated_wait_s())
        job = _Job(work, asyncio.get_running_loop().create_future(), self._clock(), deadline)
        self._waiting.append(job)
        self._idle.clear()
        self._fill()
        try:
            value: T = await job.future
        except asyncio.CancelledError:
            if job in self._waiting:
                self._waiting.remove(job)
                self.shed["expired" if self._expired(job) else "cancelled"] += 1
                self._check_idle()
            raise
        return value

    async def close(self) -> None:
        """Refuses new jobs, waits until all accepted ones are done, and ends the threads."""
        self._closed = True
        await self._idle.wait()
        self._threads.shutdown(wait=False)

    def _fill(self) -> None:
        """Gives free workers the jobs that wait longest."""
        while self._waiting and self._running < self.workers:
            job = self._waiting.popleft()
            now = self._clock()
            if job.future.cancelled():  # its caller left in this very turn of the loop
                self.shed["cancelled"] += 1
            elif self._expired(job):
                self.shed["expired"] += 1
                job.future.set_exception(DeadlineExpired(now - job.submitted))
            else:
                self._running += 1
                self._threads.submit(self._run, job, now)
        self._check_idle()

    def _run(self, job: _Job, began: float) -> None:
        """Does the work; the only method that runs on a worker thread."""
        value: Any = None
        error: BaseException | None = None
        try:
            value = job.work(began - job.submitted)
        except BaseException as raised:  # noqa: BLE001 - it is raised again, where the job was submitted
            error = raised
        job.future.get_loop().call_soon_threadsafe(self._finish, job, began, value, error)

    def _finish(self, job: _Job, began: float, value: Any, error: BaseException | None) -> None:  # noqa: ANN401
        self._running -= 1
        self._service_s += _SMOOTHING * (self._clock() - began - self._service_s)
        if not job.future.done():  # else its caller left while it ran
            if error is None:
                job.future.set_result(value)
            else:
                job.future.set_exception(error)
        self._fill()

    def _expired(self, job: _Job) -> bool:
        return job.deadline is not None and self._clock() >= job.deadline

    def _check_idle(self) -> None:
        if not self._waiting and not self._running:
            self._idle.set()

    def _estimated_wait_s(self) -> float:
        return self._service_s * (len(self._waiting) + 1) / self.workers
