from __future__ import annotations

import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from detector_grpc.drift import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes, as if the disk were full then; Python ignores the signal that says so."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [10, 14, 20])
def test_a_line_is_added_whole_or_not_at_all(tmp_path: Path, room: int) -> None:
    path = tmp_path / "lines"
    files.append(path, "first\n")

    with files_of_at_most(room), pytest.raises(OSError, match=r"No space left|File too large"):
        files.append(path, "a second one that is longer\n")
    assert path.read_text(encoding="utf-8") == "first\n"

    files.append(path, "third\n")
    assert path.read_text(encoding="utf-8") == "first\nthird\n"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.replace(path, "old")

    with files_of_at_most(100), pytest.raises(OSError, match=r"No space left|File too large"):
        files.replace(path, "new" * 1000)

    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_set_aside_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "file"
    asides = []
    for text in ("one", "two"):
        path.write_text(text, encoding="utf-8")
        asides.append(files.set_aside(path))

    assert [each.read_text(encoding="utf-8") for each in asides] == ["one", "two"]
    assert not path.exists()
