"""How long a process that has crashed waits before it is started again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_S = 0.5
MOST_S = 30.0
WELL_S = 30.0


class Backoff:
    """Each crash in a row waits twice as long as the one before.

    Args:
        first_s: Seconds to wait after the first crash.
        most_s: Most seconds to wait.
        well_s: Who has run for so many seconds has run well, and begins a new row.
        clock: Seconds that pass evenly.

    Attributes:
        crashes: How many there were in this row.
    """

    def __init__(
        self,
        first_s: float = FIRST_S,
        most_s: float = MOST_S,
        well_s: float = WELL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.crashes = 0
        self._first_s = self._next_s = first_s
        self._most_s = most_s
        self._well_s = well_s
        self._clock = clock
        self._began = clock()

    def begin(self) -> None:
        """Notes that the process has been started."""
        self._began = self._clock()

    def crash(self) -> float:
        """Notes that it has crashed, and returns the seconds to wait."""
        if self._clock() - self._began >= self._well_s:
            self.crashes, self._next_s = 0, self._first_s
        self.crashes += 1
        wait_s, self._next_s = self._next_s, min(self._most_s, 2 * self._next_s)
        return wait_s
