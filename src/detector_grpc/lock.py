"""Folders that one process at a time has to itself."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_POLL_S = 0.02


@contextmanager
def locked(folder: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Keeps others who lock the folder out, until it is left; the kernel ends that however the process ends.

    Args:
        folder: A folder that is there.
        wait_s: Most seconds to wait for who has it.

    Raises:
        BlockingIOError: Somebody still has it.
        OSError: It cannot be opened.
    """
    deadline = time.monotonic() + wait_s
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_POLL_S)
            else:
                break
        yield
    finally:
        os.close(descriptor)
