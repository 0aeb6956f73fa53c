"""Files that are whole or not there, and stay when the power fails."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# What is being written; such a file that nobody writes any more is worth nothing.
UNFINISHED = ".new-"

# Pictures may show anybody, so they are for nobody but their owner.
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600


def make_folder(folder: Path) -> None:
    """Makes a folder, and those above it, where they are not there.

    Raises:
        OSError: It cannot be made.
    """
    try:
        folder.mkdir(mode=_FOLDER_MODE)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return
    except FileNotFoundError:
        make_folder(folder.parent)
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    sync_folder(folder.parent)


def write_durably(path: Path, *parts: bytes) -> None:
    """Writes a file of these parts in a folder that is there, and returns once it is on the disk.

    Raises:
        OSError: It could not be written; nothing of it is left.
    """
    unfinished = path.with_name(f"{UNFINISHED}{os.getpid()}-{path.name}")
    try:
        unfinished.touch(_FILE_MODE)
        with unfinished.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Returns once the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
