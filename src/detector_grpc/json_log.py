"""The log: one JSON object per line."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from pythonjsonlogger.json import JsonFormatter

from detector_grpc.output import Output

if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds that the end of a process waits for a slow reader.
LAST_LINES_S = 2.0


class Lines(Protocol):
    """Where lines go; writing one must not wait for whoever reads it."""

    def write_line(self, line: bytes) -> None:
        """Writes a line, which has no end yet."""


class JsonLog(logging.Handler):
    """Makes a line of every record.

    Args:
        lines: Where they go.
    """

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self.setFormatter(
            JsonFormatter(
                "{levelname}{name}{message}",
                style="{",
                timestamp="time",
                rename_fields={"levelname": "level", "name": "logger"},
            )
        )
        self._lines = lines

    def use(self, level: str) -> None:
        """Makes it the only log of the process."""
        logging.basicConfig(level=level.upper(), handlers=[self], force=True)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            self._lines.write_line(self.format(record).encode(errors="backslashreplace"))
        except Exception:  # noqa: BLE001 - as handlers do: what is logged must not fail because of the log
            self.handleError(record)


@contextmanager
def logging_to_stderr(level: str) -> Iterator[Output]:
    """Has the process write its log to standard error, until it is left."""
    output = Output(sys.stderr.fileno())
    JsonLog(output).use(level)
    try:
        yield output
    finally:
        output.close(LAST_LINES_S)
