"""How much of a processor the threads of capture may take from the workers."""

from __future__ import annotations

import time


class Pace:
    """Of one thread, which rests nine times as long as it has worked: it never takes more than a tenth of a processor.

    So it does not matter to callers how large the pictures are and how many of them are uncertain.
    """

    def __init__(self) -> None:
        self._used_s = time.thread_time()

    def rest_s(self) -> float:
        """Seconds to rest for what was done since the last time."""
        used_s, self._used_s = self._used_s, time.thread_time()
        return 9 * (self._used_s - used_s)
