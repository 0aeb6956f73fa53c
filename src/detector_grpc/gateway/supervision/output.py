"""One stream of whole lines for several writers, none of which ever waits for its reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector_grpc.output import MAX_UNREAD_BYTES, Output

if TYPE_CHECKING:
    from collections.abc import Iterator

# Longest part of a line without an end that is kept; a longer line is cut.
MAX_LINE_BYTES = 64 << 10

NAME_WIDTH = 8

# ANSI colours that are readable on dark and on light: cyan, yellow, green, magenta, blue.
_COLOURS = (36, 33, 32, 35, 34)


class NamedOutput:
    """The lines of several writers in one stream, each under the name of who wrote it.

    The reader is told how many lines he missed, see Output.

    Args:
        descriptor: Open file to write to.
        coloured: Whether names are.
        max_unread_bytes: As of Output.
    """

    def __init__(self, descriptor: int, *, coloured: bool, max_unread_bytes: int = MAX_UNREAD_BYTES) -> None:
        self._output = Output(descriptor, max_unread_bytes=max_unread_bytes, missed=_missed)
        self._coloured = coloured
        self._names = 0

    def writer(self, name: str) -> LineWriter:
        """Writes lines under a name."""
        padded = f"{name:<{NAME_WIDTH}}"
        if self._coloured:
            padded = f"\x1b[{_COLOURS[self._names % len(_COLOURS)]}m{padded}\x1b[0m"
            self._names += 1
        return LineWriter(self._output, f"{padded} | ".encode())

    def close(self, timeout_s: float) -> None:
        """As of Output."""
        self._output.close(timeout_s)


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


def _missed(lines: int) -> bytes:
    return b"(%d lines were dropped: they were read too slowly)" % lines
