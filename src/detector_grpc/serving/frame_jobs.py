"""Has workers look at the frames of one book."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector_grpc.serving.frames import Frame, FrameBook
    from detector_grpc.serving.scheduler import Priority, Scheduler
    from detector_grpc.serving.turns import Flow

PayloadT = TypeVar("PayloadT")


class FrameJobs(Generic[PayloadT]):
    """Asks for a worker for every frame that waits, and has it look at the frame that is next when it is free.

    Args:
        book: The frames.
        scheduler: The workers.
        flow: What the frames belong to.
        priority: Whether they pass others.
        begin: Makes what a worker does with a frame that waited for so many seconds; its value or error settles the
            frame.
        uses: What must last until the worker is done, see Scheduler.until_unused.
    """

    def __init__(
        self,
        book: FrameBook[PayloadT],
        scheduler: Scheduler,
        flow: Flow,
        priority: Priority,
        begin: Callable[[PayloadT, float], Callable[[], object]],
        uses: object,
    ) -> None:
        self._book = book
        self._scheduler = scheduler
        self._flow = flow
        self._priority = priority
        self._begin = begin
        self._uses = uses
        self._tasks: set[asyncio.Task[None]] = set()
        self._queued = self._running = 0

    def look_at_more(self) -> None:
        """To be called when a frame was accepted; asks for as many workers as there are at most."""
        while self._queued < self._book.waiting and self._queued + self._running < self._scheduler.workers:
            self._queued += 1
            task = asyncio.create_task(self._job())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def cancel(self) -> None:
        """Gives up what waits for a worker; what runs is not waited for."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _job(self) -> None:
        taken: list[Frame[PayloadT]] = []
        outcome: object
        try:
            choose = partial(self._choose, taken)
            outcome = await self._scheduler.submit_chosen(choose, self._flow, self._priority, self._uses)
        except Exception as error:  # noqa: BLE001 - it is what became of the frame
            outcome = error
        for frame in taken:
            self._running -= 1
            self._book.settle(frame, outcome)
        self.look_at_more()

    def _choose(self, taken: list[Frame[PayloadT]]) -> Callable[[float], object] | None:
        self._queued -= 1
        now = time.monotonic()
        frame = self._book.take(now)
        if frame is None:  # all that waited has become stale
            return None
        taken.append(frame)
        self._running += 1
        work = self._begin(frame.payload, now - frame.arrived)
        return lambda _: work()
