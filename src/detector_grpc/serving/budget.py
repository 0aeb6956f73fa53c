"""Bytes that a process may hold at once, given out so that nobody is passed over."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple


class ByteBudget:
    """A number of bytes that is given out in the order of asking. Belongs to one event loop.

    Args:
        total_bytes: Number of bytes.
        within: What the bytes are part of, and have to be free in as well; None if they stand alone.
    """

    def __init__(self, total_bytes: int, within: ByteBudget | None = None) -> None:
        self._free = total_bytes
        self._within = within
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def reserve(self, size_bytes: int) -> None:
        """Waits until the bytes are free, and takes them."""
        await self._reserve_here(size_bytes)
        if self._within is not None:
            try:
                await self._within.reserve(size_bytes)
            except BaseException:
                self._release_here(size_bytes)
                raise

    def try_reserve(self, size_bytes: int) -> bool:
        """Takes the bytes if they are free now and nobody waits for any; says whether it did."""
        if self._waiting or size_bytes > self._free:
            return False
        if self._within is not None and not self._within.try_reserve(size_bytes):
            return False
        self._free -= size_bytes
        return True

    def release(self, size_bytes: int) -> None:
        """Gives bytes back."""
        if self._within is not None:
            self._within.release(size_bytes)
        self._release_here(size_bytes)

    async def _reserve_here(self, size_bytes: int) -> None:
        if not self._waiting and size_bytes <= self._free:
            self._free -= size_bytes
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size_bytes, turn))
        try:
            await turn
        except asyncio.CancelledError:
            left_with_turn = turn.done() and not turn.cancelled()  # got its turn and left in the same instant
            self._release_here(size_bytes if left_with_turn else 0)  # 0: those behind may fit now
            raise

    def _release_here(self, size_bytes: int) -> None:
        self._free += size_bytes
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size
                turn.set_result(None)


class Shares(NamedTuple):
    """Who may take how much of a process's bytes: who can wait keeps nothing from who cannot.

    Attributes:
        live: All of it; for frames of live streams, which are dropped where there is no room.
        calls: Three quarters of it.
        recordings: Half of it, which is part of what calls may take; for frames of LOSSLESS streams.
    """

    live: ByteBudget
    calls: ByteBudget
    recordings: ByteBudget

    @classmethod
    def of(cls, total_bytes: int, largest_bytes: int) -> Shares:
        """Divides bytes; each share has room for the largest message."""
        live = ByteBudget(total_bytes)
        calls = ByteBudget(max(total_bytes * 3 // 4, largest_bytes), live)
        return cls(live, calls, ByteBudget(max(total_bytes // 2, largest_bytes), calls))
