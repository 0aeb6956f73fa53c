"""Sources that block, read beside the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

ItemT = TypeVar("ItemT")

_END = object()


class OffLoop(Generic[ItemT]):
    """Iterates in a thread of its own: asyncio's would be taken up by a few cameras, each waiting for its next picture.

    Args:
        items: What to iterate.
        patience_s: Longest that closing waits for an item that is being read, in seconds.
    """

    def __init__(self, items: Iterable[ItemT], patience_s: float) -> None:
        self._items = iter(items)
        self._patience_s = patience_s
        self._thread = ThreadPoolExecutor(1, "stream-source")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ItemT:
        item = await asyncio.wrap_future(self._thread.submit(self._next))
        if item is _END:
            raise StopAsyncIteration
        return cast("ItemT", item)

    async def aclose(self) -> None:
        """Ends the thread, and lets go of the items."""
        idle = self._thread.submit(lambda: None)  # done when nothing is being read any more
        self._thread.shutdown(wait=False)
        await asyncio.wait({asyncio.wrap_future(idle)}, timeout=self._patience_s)
        self._items = iter(())

    def _next(self) -> object:
        return next(self._items, _END)
