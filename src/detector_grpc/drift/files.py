"""Files that outlive the process: written whole or not at all, and never thrown away because they cannot be read."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path


def replace(path: Path, text: str) -> None:
    """Writes a file, or leaves the old one as it is.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def append(path: Path, text: str) -> None:
    """Adds all of a text at the end of a file, or nothing.

    Raises:
        OSError: It cannot be written.
    """
    left = memoryview(text.encode())
    with path.open("ab", buffering=0) as file:
        end = file.tell()
        try:
            while left:  # of which a disk that becomes full takes a part, before it refuses the rest
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def set_aside(path: Path) -> Path:
    """Renames a file that is of no use here, so that another one can take its place; returns where it is."""
    aside = path.with_name(f"{path.name}.kept-{time.time_ns()}")
    path.rename(aside)
    return aside
