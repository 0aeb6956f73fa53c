"""Samples in a folder of this machine, or one that is mounted."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import time
from math import inf
from typing import TYPE_CHECKING

from detector_grpc.capture.files import UNFINISHED, make_folder, write_durably
from detector_grpc.capture.sinks.sink import ObjectMissing, SinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_NAME_DIGITS = 12

# Between two looks at all files, since other processes bring samples, too, and people take them away.
_LOOK_EVERY_S = 600.0


class FolderSink:
    """A folder, which is made when something comes into it. See Sink.

    Args:
        folder: The folder.
        max_bytes: Bytes of all files beyond which nothing new comes into it: what is there waits for people.
        clock: Seconds, monotonic.
    """

    def __init__(self, folder: Path, max_bytes: float = inf, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder.absolute()
        self._max_bytes = max_bytes
        self._clock = clock
        self._size_bytes = 0
        self._look_at = -inf
        self.name = f"folder-{hashlib.sha256(str(self._folder).encode()).hexdigest()[:_NAME_DIGITS]}"
        self.place = str(self._folder)

    def put(self, key: str, data: bytes, media_type: str, *, replace: bool = False) -> bool:  # noqa: ARG002
        """See Sink."""
        path = self._folder / key
        with self._errors_told("write"):
            if not replace:
                if path.exists():
                    return False
                self._take_room(len(data))
            make_folder(path.parent)
            write_durably(path, data)
        return True

    def has(self, key: str) -> bool:
        """See Sink."""
        with self._errors_told("read"):
            return (self._folder / key).exists()

    def get(self, key: str) -> bytes:
        """See Sink."""
        with self._errors_told("read"):
            try:
                return (self._folder / key).read_bytes()
            except FileNotFoundError:
                raise ObjectMissing(self.place, key) from None

    def walk(self, prefix: str = "") -> Iterator[str]:
        """See Sink."""
        with self._errors_told("read"):
            files = sorted(path for path in self._folder.rglob("*") if path.is_file())
        for path in files:
            key = path.relative_to(self._folder).as_posix()
            if key.startswith(prefix) and not path.name.startswith(UNFINISHED):
                yield key

    def delete(self, key: str) -> None:
        """See Sink; what a process has left that died while writing it goes, too, and folders that become empty."""
        path = self._folder / key
        with self._errors_told("write"):
            for each in (path, *path.parent.glob(f"{UNFINISHED}*-{path.name}")):
                each.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty
            for parent in path.relative_to(self._folder).parents[:-1]:
                (self._folder / parent).rmdir()

    def _take_room(self, size_bytes: int) -> None:
        if self._max_bytes == inf:
            return
        if self._clock() >= self._look_at:
            self._look_at = self._clock() + _LOOK_EVERY_S
            self._size_bytes = sum(map(_size_bytes, self._folder.rglob("*.*")))
        if self._size_bytes + size_bytes > self._max_bytes:
            self._look_at = -inf  # there may be room by the next time
            raise SinkError(
                "folder_full",
                f"there are {self._size_bytes} bytes in {self._folder}, and at most {self._max_bytes} may be: take "
                "samples away (`samples export`, `samples purge`), or raise DETECTOR_CAPTURE_FOLDER_MAX_BYTES",
            )
        self._size_bytes += size_bytes

    @contextlib.contextmanager
    def _errors_told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            fault, advice = disk_fault(error)
            raise SinkError(fault, f"cannot {doing} samples in {self._folder}: {advice}") from error


def _size_bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:  # taken away just now
        return 0


def disk_fault(error: OSError) -> tuple[str, str]:
    """What is wrong with a disk: in a word for metrics, and in words that say what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full", "the disk is full; make room, or set DETECTOR_CAPTURE_STATE to another one"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "not_writable", (
            f"{error.strerror}; set DETECTOR_CAPTURE_STATE to a folder that can be written, or "
            "DETECTOR_CAPTURE_SINK=off"
        )
    return "disk", error.strerror or str(error)
