"""Sources that block, read beside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
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
        self._reading: Future[object] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ItemT:
        self._reading = self._thread.submit(next, self._items, _END)
        item = await asyncio.wrap_future(self._reading)
        if item is _END:
            raise StopAsyncIteration
        return cast("ItemT", item)

    async def aclose(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(wait=False)
        if self._reading is not None:
            with contextlib.suppress(Exception):  # of an item that nobody waits for any more
                await asyncio.wait_for(asyncio.wrap_future(self._reading), self._patience_s)
