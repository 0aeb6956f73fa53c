"""The log: one JSON object per line, written by a thread of its own, so that no call waits for whoever reads it."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from typing import Protocol

from pythonjsonlogger.json import JsonFormatter

# Lines that wait for a reader who is slow; beyond them lines are dropped and counted.
MAX_WAITING_LINES = 10_000
# Seconds that the end waits for a reader who is slow.
PATIENCE_S = 2.0


class LineStream(Protocol):
    """What lines are written to."""

    def write(self, text: str, /) -> object:
        """Writes lines with their ends."""

    def flush(self) -> None:
        """Makes them visible."""


class JsonLog(logging.Handler):
    """Hands lines to a thread that writes them.

    Args:
        stream: Where they go.
        max_waiting: Most lines that wait to be written.

    Attributes:
        dropped: Number of lines that were not written since too many waited.
    """

    def __init__(self, stream: LineStream, max_waiting: int = MAX_WAITING_LINES) -> None:
        super().__init__()
        self.setFormatter(
            JsonFormatter(
                "{levelname}{name}{message}",
                style="{",
                timestamp="time",
                rename_fields={"levelname": "level", "name": "logger"},
            )
        )
        self.dropped = 0
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(max_waiting)
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def use(self, level: str) -> None:
        """Makes it the only log of the process; it is closed when that exits."""
        logging.basicConfig(level=level.upper(), handlers=[self], force=True)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler; never waits."""
        try:
            self._lines.put_nowait(self.format(record) + "\n")
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Waits until everything is written, but not for ever."""
        super().close()
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=PATIENCE_S)
            self._thread.join(PATIENCE_S)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line)
                if self._lines.empty():
                    self._stream.flush()
            except OSError:  # nobody reads any more
                self.dropped += 1
        with contextlib.suppress(OSError):
            self._stream.flush()
