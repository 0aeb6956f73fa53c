"""Files of this machine, as if they came from another one: what is pulled twice is copied twice."""

from __future__ import annotations

import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from detector_grpc.hub.source import Part, PullFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class LocalSource:
    """A file of this machine. See Source."""

    is_authentic = True

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    @contextmanager
    def open(self, start: int, tag: str) -> Iterator[Part]:
        """See Source."""
        try:
            state = self._path.stat()
            if not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):  # to open a pipe waits for who writes
                raise PullFailed(f"{self.name}: is no file, but a pipe or a device")
            file = self._path.open("rb")
        except OSError as error:
            raise PullFailed(f"{self.name}: cannot be read: {error.strerror}") from error
        with file:
            is_now = f"{state.st_size}-{state.st_mtime_ns}"
            begins = start if tag in ("", is_now) and start <= state.st_size else 0
            file.seek(begins)
            yield Part(begins, state.st_size, is_now, file)
