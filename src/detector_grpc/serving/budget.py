"""Bytes that a process may hold at once, given out so that nobody is passed over."""

from __future__ import annotations

import asyncio
from collections import deque


class ByteBudget:
    """A number of bytes that is given out in the order of asking. Belongs to one event loop."""

    def __init__(self, total_bytes: int) -> None:
        self._free = total_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def reserve(self, size_bytes: int) -> None:
        """Waits until the bytes are free, and takes them."""
        if self.try_reserve(size_bytes):
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size_bytes, turn))
        try:
            await turn
        except asyncio.CancelledError:
            left_with_turn = turn.done() and not turn.cancelled()  # got its turn and left in the same instant
            self.release(size_bytes if left_with_turn else 0)  # 0: those behind may fit now
            raise

    def try_reserve(self, size_bytes: int) -> bool:
        """Takes the bytes if they are free now and nobody waits for any; says whether it did."""
        if self._waiting or size_bytes > self._free:
            return False
        self._free -= size_bytes
        return True

    def release(self, size_bytes: int) -> None:
        """Gives bytes back."""
        self._free += size_bytes
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size
                turn.set_result(None)
