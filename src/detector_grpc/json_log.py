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


# Writes a line, with a traceback, for each header that is not UTF-8, and the value of the header into it.
_TRANSPORT = "grpc._cython.cygrpc"
_UNDECODED = "a header of a call is not UTF-8; what it says is not shown, since it may be a secret"


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
        self.addFilter(_hide_headers)

    def use(self, level: str) -> None:
        """Makes it the only log of the process."""
        logging.basicConfig(level=level.upper(), handlers=[self], force=True)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            self._lines.write_line(self.format(record).encode(errors="backslashreplace"))
        except Exception:  # noqa: BLE001 - as handlers do: what is logged must not fail because of the log
            self.handleError(record)


def _hide_headers(record: logging.LogRecord) -> bool:
    """Takes out of a record of gRPC what a caller has sent; it is told as what it is, a fault of the caller."""
    if record.name == _TRANSPORT and record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError):
        record.msg, record.args, record.exc_info, record.exc_text = _UNDECODED, (), None, None
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
    return True


@contextmanager
def logging_to_stderr(level: str) -> Iterator[Output]:
    """Has the process write its log to standard error, until it is left."""
    output = Output(sys.stderr.fileno())
    JsonLog(output).use(level)
    try:
        yield output
    finally:
        output.close(LAST_LINES_S)
