"""Lines for a reader who may be slow, written by a thread of their own, so that nobody waits for him."""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# What a slow reader may leave unread; beyond it lines are dropped.
MAX_UNREAD_BYTES = 1 << 20

# Nobody will ever read what is written.
_NEVER_AGAIN = (errno.EPIPE, errno.EBADF, errno.EIO)


class Output:
    """Writes whole lines as the reader takes them.

    What does not fit into the buffer is dropped and counted: a log that nobody reads must not stop those who write it.

    Args:
        descriptor: Open file to write to.
        max_unread_bytes: Size of the buffer.
        missed: The line, without its end, that tells the reader how many lines he missed; None to tell him nothing.

    Attributes:
        dropped: Number of lines that were dropped so far.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        max_unread_bytes: int = MAX_UNREAD_BYTES,
        missed: Callable[[int], bytes] | None = None,
    ) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._max_unread_bytes = max_unread_bytes
        self._missed = missed
        self._told = 0
        self._lines: deque[bytes] = deque()
        self._unread_bytes = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_all, name="output", daemon=True)
        self._thread.start()

    def write_line(self, line: bytes) -> None:
        """Writes a line, which has no end yet, or drops it."""
        with self._changed:
            if self._unread_bytes + len(line) >= self._max_unread_bytes:
                self.dropped += 1
                return
            self._lines.append(line)
            self._unread_bytes += len(line) + 1
            self._changed.notify()

    def close(self, timeout_s: float) -> None:
        """Waits until the reader has all lines, or the time is over."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _write_all(self) -> None:
        torn = False  # whether what was written last is a part of a line
        while lines := self._take():
            taken = b"\n" * torn + b"".join(line + b"\n" for line in lines)
            torn = False
            try:
                while taken:
                    written = os.write(self._descriptor, taken)
                    torn, taken = taken[written - 1 : written] != b"\n", taken[written:]
            except OSError as error:
                with self._changed:
                    self.dropped += len(lines)
                    if error.errno in _NEVER_AGAIN:
                        self._max_unread_bytes, self._missed = 0, None

    def _take(self) -> list[bytes]:
        """All lines that are there to be written, once there are some; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._closed)
            lines = [*self._lines]
            self._lines.clear()
            self._unread_bytes = 0
            if self._missed is not None and self._told < self.dropped:
                lines.append(self._missed(self.dropped - self._told))
                self._told = self.dropped
        return lines
