"""Brings a file here: what has come is kept in a folder, and gone on from, whatever ended the last try."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

from detector_grpc.hub.source import PullFailed, TryAgain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from detector_grpc.hub.source import Part, Source

# A message of protobuf, which an ONNX file is, has at most so many (protobuf.dev, "Proto Limits").
MOST_BYTES = 2**31 - 1

# Seconds before the second try, and the most; twice as many before each one after it that has brought nothing.
_FIRST_WAIT_S, _MOST_WAIT_S = 0.5, 30.0

_PIECE_BYTES = 1 << 18
_FILE, _STATE = "file", "state.json"


class Watcher(Protocol):
    """Is told how it goes."""

    def moved(self, done_bytes: int, size_bytes: int | None) -> None:
        """So much is here, of so much, where that is known."""

    def waits(self, cause: str, for_s: float) -> None:
        """It was cut off, and is tried again so many seconds later."""


@dataclass(frozen=True)
class _State:
    """What was said of the file when it was last asked for.

    Attributes:
        size_bytes: Its size; None where nobody said.
        tag: See Part.
    """

    size_bytes: int | None = None
    tag: str = ""


def download(
    source: Source,
    folder: Path,
    watcher: Watcher,
    *,
    retries: int,
    is_known: bool,
    wait: Callable[[float], None] = time.sleep,
) -> Path:
    """Brings all of a file into a folder, and returns where it is.

    Args:
        source: The file.
        folder: Its own; what an earlier try has left there is gone on from.
        watcher: Is told how it goes.
        retries: Tries after one that has brought nothing.
        is_known: Whether the whole is checked afterwards, so that it may be put together of parts of which nobody says
            whether they are of one file.
        wait: Lets seconds pass.

    Raises:
        TryAgain: It cannot be had now; what has come stays in the folder.
        PullFailed: It cannot be had; as above.
        OSError: It cannot be written; as above.
    """
    path, vain = folder / _FILE, 0
    while True:
        had = _size(path)
        try:
            _go_on(source, folder, watcher, is_known=is_known)
        except TryAgain as cut:
            vain = 1 if _size(path) > had else vain + 1
            if vain > retries:
                raise
            for_s = max(cut.after_s, min(_FIRST_WAIT_S * 2 ** (vain - 1), _MOST_WAIT_S))
            watcher.waits(str(cut), for_s)
            wait(for_s)
        else:
            return path


def _go_on(source: Source, folder: Path, watcher: Watcher, *, is_known: bool) -> None:
    path, state = folder / _FILE, _read(folder)
    had = _size(path)
    if had and had == state.size_bytes:
        watcher.moved(had, had)
        return
    start = had if state.tag or is_known else 0
    with source.open(start, state.tag) as part:
        if part.size_bytes is not None and part.size_bytes > MOST_BYTES:
            raise PullFailed(f"{source.name}: has {part.size_bytes} bytes, the limit is {MOST_BYTES}")
        if part.start not in (0, start):
            raise PullFailed(f"{source.name}: the server was asked for byte {start}, and begins at {part.start}")
        (folder / _STATE).write_text(json.dumps(asdict(_State(part.size_bytes, part.tag))), encoding="utf-8")
        _write(source, part, path, watcher)


def _write(source: Source, part: Part, path: Path, watcher: Watcher) -> None:
    """Takes what comes, as far as it comes."""
    with path.open("r+b" if path.exists() else "wb", buffering=0) as file:
        file.truncate(part.start)
        file.seek(part.start)
        done = part.start
        watcher.moved(done, part.size_bytes)
        while piece := part.body.read(_PIECE_BYTES):
            done += len(piece)
            if done > min(MOST_BYTES, part.size_bytes or MOST_BYTES):
                raise PullFailed(f"{source.name}: there is more than {part.size_bytes or MOST_BYTES} bytes of it")
            left = memoryview(piece)
            while left:  # of which a disk that becomes full takes a part, before it refuses the rest
                left = left[file.write(left) :]
            watcher.moved(done, part.size_bytes)
        os.fsync(file.fileno())
    if part.size_bytes is not None and done < part.size_bytes:
        raise TryAgain(f"{source.name}: the connection was cut after {done} of {part.size_bytes} bytes")


def _read(folder: Path) -> _State:
    """What is known of an earlier try; nothing where it has left nothing that can be read."""
    try:
        return _State(**json.loads((folder / _STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return _State()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
