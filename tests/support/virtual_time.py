"""An event loop whose clock jumps to whatever is next, so that minutes of waiting take no time."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ResultT = TypeVar("ResultT")


class VirtualTime:
    """The clock of a loop.

    Attributes:
        now: Seconds since the loop began. Whoever moves it on stops all that runs on the loop for so long.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class _Selector(selectors.DefaultSelector):
    """Waits by moving the clock."""

    def __init__(self, time: VirtualTime) -> None:
        super().__init__()
        self._time = time

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everybody waits, and nothing is left that could happen"
        self._time.now += max(timeout, 0)
        return super().select(0)


def in_virtual_time(main: Callable[[VirtualTime], Awaitable[ResultT]]) -> ResultT:
    """Runs it on a loop of its own."""
    time = VirtualTime()
    loop = asyncio.SelectorEventLoop(_Selector(time))
    loop.time = time
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(time))
