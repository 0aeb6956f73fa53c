"""What workers do with the frames of one book."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from detector_grpc.errors import WouldBeLate
from detector_grpc.serving.frame_jobs import FrameJobs
from detector_grpc.serving.frames import Delivery, FrameBook
from detector_grpc.serving.scheduler import Priority, Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S = 20


async def test_what_a_frame_uses_is_in_use_until_its_worker_is_done_though_the_stream_is_gone() -> None:
    began, may_end = threading.Event(), threading.Event()
    scheduler = Scheduler(1, 1)
    book = FrameBook[str](Delivery.LOSSLESS, None, lambda _: None)

    def begin(_: str, queue_s: float) -> Callable[[], object]:
        assert queue_s >= 0

        def work() -> None:
            began.set()
            assert may_end.wait(TIMEOUT_S)

        return work

    jobs = FrameJobs(book, scheduler, ("stream",), Priority.BATCH, begin, uses="model")
    book.accept("frame", 0.0)
    jobs.look_at_more()
    assert await asyncio.to_thread(began.wait, TIMEOUT_S)
    await jobs.cancel()
    unused = asyncio.create_task(scheduler.until_unused("model"))
    await asyncio.sleep(0)
    assert not unused.done()
    may_end.set()
    await asyncio.wait_for(unused, TIMEOUT_S)
    await scheduler.close()


async def test_of_frames_that_nobody_looks_at_nothing_is_learned_of_how_long_jobs_take() -> None:
    scheduler = Scheduler(1, 1, max_wait_s=0)
    book = FrameBook[str](Delivery.LATEST, 0.0, lambda _: None)
    jobs = FrameJobs(book, scheduler, ("stream",), Priority.INTERACTIVE, lambda *_: lambda: None, uses=None)
    scheduler._service_time.add(60)
    for _ in range(50):
        book.accept("long stale", 0.0)
        jobs.look_at_more()
        await asyncio.gather(*jobs._tasks)
    assert book.waiting == 0
    may_end = threading.Event()
    running = asyncio.create_task(scheduler.submit(lambda _: may_end.wait(TIMEOUT_S), ("calls",), Priority.INTERACTIVE))
    await asyncio.sleep(0)
    with pytest.raises(WouldBeLate):  # a minute, not what fifty threads needed to do nothing
        scheduler.check(("calls",), Priority.INTERACTIVE, time.monotonic() + 30)
    may_end.set()
    assert await running
    await scheduler.close()
