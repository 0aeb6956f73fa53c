"""Work that nobody waits for, done in batches.

A line in the log and a dozen metrics cost little when they follow one another, and several times as much when each
comes after a picture, whose pixels have pushed everything else out of the processor's caches. So they wait a moment for
more of their kind, and the caller's answer waits for none of them.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

DELAY_S = 0.1
MAX_WAITING = 256


class Later:
    """Calls functions on the event loop, in the order of asking, at most `DELAY_S` after it."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def __call__(self, work: Callable[..., None], *arguments: object) -> None:
        """Has `work(*arguments)` called later; must be called on the event loop."""
        self._waiting.append((work, arguments))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_later(DELAY_S, self.flush)
        elif len(self._waiting) >= MAX_WAITING:
            self.flush()

    def flush(self) -> None:
        """Does everything that waits; a failure is logged, and stops nothing else."""
        waiting, self._waiting = self._waiting, []
        for work, arguments in waiting:
            try:
                work(*arguments)
            except Exception:
                log.exception("work after a call failed")
