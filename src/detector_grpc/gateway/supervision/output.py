"""One stream of whole lines for several writers, none of which ever waits for its reader."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a slow reader may leave unread; beyond it lines are dropped.
MAX_UNREAD_BYTES = 1 << 20

# Longest part of a line without an end that is kept; a longer line is cut.
MAX_LINE_BYTES = 64 << 10

NAME_WIDTH = 8

# ANSI colours that are readable on dark and on light: cyan, yellow, green, magenta, blue.
_COLOURS = (36, 33, 32, 35, 34)


class Output:
    """Writes lines on a thread of its own, as the reader takes them.

    What does not fit into the buffer is dropped and counted, and the reader is told how many lines it missed: a log
    that nobody reads must not stop those who write it.

    Args:
        descriptor: Open file to write to.
        coloured: Whether names are.
        max_unread_bytes: Size of the buffer.
    """

    def __init__(self, descriptor: int, *, coloured: bool, max_unread_bytes: int = MAX_UNREAD_BYTES) -> None:
        self._descriptor = descriptor
        self._coloured = coloured
        self._max_unread_bytes = max_unread_bytes
        self._names = 0
        self._lines: deque[bytes] = deque()
        self._unread_bytes = 0
        self._dropped = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_all, name="output", daemon=True)
        self._thread.start()

    def writer(self, name: str) -> LineWriter:
        """Writes lines under a name."""
        padded = f"{name:<{NAME_WIDTH}}"
        if self._coloured:
            padded = f"\x1b[{_COLOURS[self._names % len(_COLOURS)]}m{padded}\x1b[0m"
            self._names += 1
        return LineWriter(self, f"{padded} | ".encode())

    def write_line(self, line: bytes) -> None:
        """Writes a line, which has no end yet, or drops it."""
        with self._changed:
            if self._unread_bytes + len(line) >= self._max_unread_bytes:
                self._dropped += 1
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
        while taken := self._take():
            try:
                while taken:
                    taken = taken[os.write(self._descriptor, taken) :]
            except OSError:  # nobody will ever read it
                self._max_unread_bytes = 0

    def _take(self) -> bytes:
        """All that is there to be written, once there is something; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._closed)
            lines = [*self._lines]
            self._lines.clear()
            self._unread_bytes = 0
            if self._dropped:
                lines.append(b"(%d lines were dropped: they were read too slowly)" % self._dropped)
                self._dropped = 0
        return b"".join(line + b"\n" for line in lines)


class LineWriter:
    """Lines under a name.

    Args:
        output: Where they go.
        prefix: What is put before each.
    """

    def __init__(self, output: Output, prefix: bytes) -> None:
        self._output = output
        self._prefix = prefix

    def write_line(self, line: bytes) -> None:
        """Writes a line, which has no end yet."""
        self._output.write_line(self._prefix + line)

    def write(self, text: str) -> None:
        """Writes whole lines, as a handler of `logging` does."""
        for line in text.splitlines():
            self.write_line(line.encode(errors="backslashreplace"))

    def flush(self) -> None:
        """Does nothing: lines are on their way already."""


class LineSplitter:
    """Makes lines of what arrives in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that are complete now, without their ends; b"" for `data` ends the last one."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        yield from lines
        if self._rest and (not data or len(self._rest) >= MAX_LINE_BYTES):
            yield self._rest
            self._rest = b""
