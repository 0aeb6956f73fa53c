"""Where captured samples wait for their sink: on this machine's disk, whatever happens to this process.

Every process has a folder of its own below that of the sink, and keeps it locked for as long as it runs. A folder that
nobody keeps locked any more is that of a process that has died: its samples move to whoever finds it first.

    <state>/spool/<sink>/<process>/<captured at, µs>-<score, ‰>-<digest of the file>.sample

A sample is captured once its file is there under that name, and on the disk; all that is needed to decide which one
goes when there is no more room is in the name. What cannot be read is set aside, for somebody to look at, until it is
too old as well.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import uuid
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.capture.files import UNFINISHED, make_folder, sync_folder, write_durably
from detector_grpc.capture.sample import Sample, SampleInvalid
from detector_grpc.capture.waiting import SUFFIX, Waiting, file_name, is_named_for
from detector_grpc.lock import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from detector_grpc.capture.waiting import First

log = logging.getLogger(__name__)

ASIDE = "set-aside"

_LOCK_WAIT_S = 10.0


class SpoolLimits(NamedTuple):
    """What may wait.

    Attributes:
        max_bytes: Most bytes.
        max_age_s: Most seconds since it was captured.
        first_to_go: Which go when there are too many bytes: the oldest, or those that the model was least unsure of.
    """

    max_bytes: int
    max_age_s: float
    first_to_go: First


class Spool:
    """The samples of one process. May be used by several threads.

    Args:
        folder: That of the sink.
        limits: What may wait.
        clock: Seconds since the epoch.

    Attributes:
        lost: Numbers of samples that did not reach their sink, by why: evicted_size, evicted_age, corrupt.
    """

    def __init__(self, folder: Path, limits: SpoolLimits, clock: Callable[[], float] = time.time) -> None:
        self.lost: Counter[str] = Counter(evicted_size=0, evicted_age=0, corrupt=0)
        self._root = folder
        self._limits = limits
        self._clock = clock
        self._own: Path | None = None
        self._lock = ExitStack()
        self._waiting = Waiting()
        self._busy: set[str] = set()
        self._told: set[str] = set()
        self._mutex = threading.Lock()
        self._opening = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether samples can be added."""
        return self._own is not None

    @property
    def size_bytes(self) -> int:
        """Bytes that wait."""
        return self._waiting.size_bytes

    @property
    def oldest_s(self) -> float:
        """Seconds since the oldest one that waits was captured; 0 if none does."""
        with self._mutex:
            since_s = self._waiting.since_s
        return 0.0 if since_s is None else max(0.0, self._clock() - since_s)

    def __len__(self) -> int:
        return len(self._waiting)

    def open(self) -> None:
        """Makes a folder for this process, where it has none.

        Raises:
            OSError: There can be none.
        """
        with self._opening:
            if self._own is None:
                self._own = self._locked_folder()

    def close(self) -> None:
        """Leaves what waits to whoever comes next."""
        own, self._own = self._own, None
        self._lock.close()
        if own is not None:
            with contextlib.suppress(OSError):  # not empty, or gone
                own.rmdir()

    def add(self, sample: Sample) -> None:
        """Keeps a sample; when this returns it is on the disk. Others may have to go.

        Raises:
            OSError: It could not be kept.
        """
        own = self._opened()
        data = sample.to_bytes()
        name = file_name(sample.sidecar, data)
        try:
            write_durably(own / name, data)
        except FileNotFoundError:  # somebody has removed the folder
            self.close()
            raise
        with self._mutex:
            self._waiting.add(name, len(data))
        self._make_room()

    def adopt(self) -> int:
        """Takes over the samples of processes that have died; how many there were.

        Those that cannot be moved, such as another user's, are told of, and stay where they are.

        Raises:
            OSError: There are no folders to look into.
        """
        own = self._opened()
        adopted = 0
        with locked(self._root, _LOCK_WAIT_S):
            for folder in sorted(self._root.iterdir()):
                if folder == own or not folder.is_dir():
                    continue
                try:
                    with locked(folder):
                        adopted += self._move(folder, own)
                except (BlockingIOError, FileNotFoundError):  # its process lives, or is leaving
                    continue
                except OSError as error:
                    self._tell_of(folder, error)
        if adopted:
            self._make_room()
        return adopted

    def oldest(self, without: set[str]) -> str | None:
        """Name of the sample that waits longest, but for some."""
        with self._mutex:
            return self._waiting.oldest(without)

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[Sample | None]:
        """A sample, which does not have to go meanwhile; None if it is gone, or is none and set aside.

        Raises:
            OSError: It cannot be read.
        """
        with self._mutex:
            self._busy = {name}
        try:
            yield self._read(name)
        finally:
            with self._mutex:
                self._busy = set()

    def was_erased(self, name: str) -> bool:
        """Whether somebody has taken the file of a sample, and not all of them."""
        return self._own is not None and self._own.exists() and not (self._own / name).exists()

    def remove(self, name: str) -> None:
        """Removes a sample that has reached its sink."""
        with self._mutex:
            self._drop(name)

    def set_aside(self, name: str) -> None:
        """Keeps a sample out of the way, for somebody to look at."""
        own = self._opened()
        aside = self._root.parent / ASIDE
        with contextlib.suppress(OSError):
            make_folder(aside)
            (own / name).rename(aside / name)
        with self._mutex:
            self._drop(name)
            self.lost["corrupt"] += 1
        log.error(
            "a sample cannot be used and is set aside: look at it, and delete it", extra={"file": str(aside / name)}
        )

    def forget_old(self) -> None:
        """Has those go that have waited too long."""
        until = self._clock() - self._limits.max_age_s
        with self._mutex:
            for name in self._waiting.before(until):
                if name not in self._busy:
                    self._drop(name)
                    self.lost["evicted_age"] += 1
        with contextlib.suppress(OSError):
            for path in (self._root.parent / ASIDE).glob(f"*{SUFFIX}"):
                if path.stat().st_mtime < until:
                    path.unlink()

    def _locked_folder(self) -> Path:
        make_folder(self._root)
        with locked(self._root, _LOCK_WAIT_S):
            own = self._root / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
            make_folder(own)
            self._lock.enter_context(locked(own))
        return own

    def _opened(self) -> Path:
        if self._own is None:
            self.open()
        assert self._own is not None  # noqa: S101 - for mypy
        return self._own

    def _read(self, name: str) -> Sample | None:
        try:
            data = (self._opened() / name).read_bytes()
            if not is_named_for(name, data):
                raise SampleInvalid("it is not as it was written")  # noqa: TRY301
            return Sample.from_bytes(data)
        except FileNotFoundError:
            self.remove(name)
        except SampleInvalid:
            self.set_aside(name)
        return None

    def _move(self, folder: Path, own: Path) -> int:
        moved = 0
        for path in sorted(each for each in folder.iterdir() if each.is_file()):
            if path.name.startswith(UNFINISHED):
                path.unlink()
                continue
            size = path.stat().st_size
            path.rename(own / path.name)
            with self._mutex:
                self._waiting.add(path.name, size)
            moved += 1
        if moved:
            sync_folder(own)
        with contextlib.suppress(OSError):  # something else is in it
            folder.rmdir()
        return moved

    def _tell_of(self, folder: Path, error: OSError) -> None:
        if folder.name not in self._told:
            self._told.add(folder.name)
            log.warning(
                "what another process has left cannot be taken over, and stays: %s; see whose it is",
                error.strerror,
                extra={"folder": str(folder)},
            )

    def _make_room(self) -> None:
        with self._mutex:
            while self._waiting.size_bytes > self._limits.max_bytes:
                name = self._waiting.first_to_go(self._limits.first_to_go, self._busy)
                if name is None:
                    return
                self._drop(name)
                self.lost["evicted_size"] += 1

    def _drop(self, name: str) -> None:
        if self._waiting.remove(name) and self._own is not None:
            with contextlib.suppress(OSError):  # gone, or on a disk that can no longer be written
                (self._own / name).unlink(missing_ok=True)


def samples_in(folder: Path) -> Iterator[Path]:
    """Files of the samples that wait below a folder, or were set aside there."""
    return folder.rglob(f"*{SUFFIX}")


def spool_folder(state: Path, sink: str) -> Path:
    """The folder of the spools of a sink, by its name."""
    return state / "spool" / sink
