"""Servers that are nothing but a queue, in virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from detector_grpc.client import CallFailed

if TYPE_CHECKING:
    from support.virtual_time import VirtualTime


class Queue:
    """A number of workers that take the same time for every call, first come first served.

    Args:
        time: The clock.
        workers: How many.
        service_s: How long one takes for a call.
        stall_s: From when to when nobody gets an answer.
    """

    def __init__(
        self, time: VirtualTime, workers: int, service_s: float, stall_s: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        self._time = time
        self._workers = asyncio.Semaphore(workers)
        self._service_s = service_s
        self._stall_s = stall_s

    async def __call__(self, number: int, timeout_s: float) -> CallFailed | None:
        del number
        try:
            async with asyncio.timeout(timeout_s), self._workers:
                await asyncio.sleep(self._service_s)
                begins_at, ends_at = self._stall_s
                if begins_at <= self._time.now < ends_at:
                    await asyncio.sleep(ends_at - self._time.now)
        except TimeoutError:
            return CallFailed("DEADLINE_EXCEEDED", "")
        return None
