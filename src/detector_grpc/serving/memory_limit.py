"""Whether there is memory for a model, so that this is said before the system ends the process for want of it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.errors import ModelTooLarge
from detector_grpc.serving.cpu import CGROUP

if TYPE_CHECKING:
    from collections.abc import Iterator

# What version 1 of control groups says where there is no limit is about this.
_NO_LIMIT_BYTES = 1 << 62


class _Files(NamedTuple):
    """What the files of one version of control groups are called, and what their lines of cached files begin with."""

    limit: str
    used: str
    details: str
    cached: tuple[str, ...]


_VERSIONS = (
    _Files("memory.max", "memory.current", "memory.stat", ("inactive_file", "active_file")),
    _Files(
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        ("total_inactive_file", "total_active_file"),
    ),
)


class Room(NamedTuple):
    """Memory of a control group, in bytes.

    Attributes:
        limit_bytes: What it may have.
        left_bytes: What it may still take. Files that the system keeps for it in memory count as free.
    """

    limit_bytes: int
    left_bytes: int


def room(cgroup: Path = CGROUP) -> Room | None:
    """What there is for this process; None without a limit.

    Args:
        cgroup: Root of the control group file system, of version 2 or 1.
    """
    for files in _VERSIONS:
        try:
            limit, used = (int((cgroup / name).read_text()) for name in (files.limit, files.used))
            details = dict(line.split() for line in (cgroup / files.details).read_text().splitlines())
        except (OSError, ValueError):  # ValueError: the limit is "max"
            continue
        if limit < _NO_LIMIT_BYTES:
            return Room(limit, limit - used + sum(int(details.get(name, 0)) for name in files.cached))
    return None


class MemoryLimit:
    """Refuses models that would not fit. Any thread may ask.

    Args:
        cgroup: As `room`.
    """

    def __init__(self, cgroup: Path = CGROUP) -> None:
        self._cgroup = cgroup
        self._turn = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Around the opening of a model: under a limit one after the other, so that what each takes can be told."""
        if room(self._cgroup) is None:
            yield
        else:
            with self._turn:
                yield

    def check(self, purpose: str, needed_bytes: int) -> None:
        """Refuses what would take more than there is.

        Args:
            purpose: What takes it, for the error.
            needed_bytes: What that is at least.

        Raises:
            ModelTooLarge: It is more than is left.
        """
        there = room(self._cgroup)
        if there is not None and needed_bytes > there.left_bytes:
            raise ModelTooLarge(purpose, needed_bytes, there.left_bytes, there.limit_bytes)


def own_bytes(status: Path = Path("/proc/self/status")) -> int:
    """Memory of this process that no file backs; 0 where the system does not say."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)
