"""What workers do with the frames of one book."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

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
