"""Samples in a folder, and what is said where it cannot be written."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from detector_grpc.capture.sinks.folder import FolderSink
from detector_grpc.capture.sinks.sink import SinkError

if TYPE_CHECKING:
    from pathlib import Path

KEY = "2026-03-01/m/v1/0.jpg"


def test_an_object_is_kept_once_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path / "sink")

    assert sink.put(KEY, b"one", "image/jpeg")
    assert not sink.put(KEY, b"two", "image/jpeg")
    assert sink.get(KEY) == b"one"
    assert sink.put(KEY, b"two", "image/jpeg", replace=True)
    assert sink.get(KEY) == b"two"


def test_keys_are_in_order_and_what_is_half_written_is_none(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path)
    for key in ("b/2.jpg", "a/1.jpg", "b/1.jpg"):
        sink.put(key, b"", "image/jpeg")
    (tmp_path / "b" / ".new-7-3.jpg").write_bytes(b"ha")

    assert list(sink.walk()) == ["a/1.jpg", "b/1.jpg", "b/2.jpg"]
    assert list(sink.walk("b/")) == ["b/1.jpg", "b/2.jpg"]
    assert list(FolderSink(tmp_path / "none").walk()) == []


def test_folders_that_have_become_empty_go(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path / "sink")
    sink.put(KEY, b"", "image/jpeg")
    sink.put("2026-03-01/m/v2/0.jpg", b"", "image/jpeg")

    sink.delete(KEY)
    sink.delete(KEY)

    assert [path.name for path in (tmp_path / "sink" / "2026-03-01" / "m").iterdir()] == ["v2"]


def test_nobody_else_may_look(tmp_path: Path) -> None:
    FolderSink(tmp_path / "sink").put(KEY, b"", "image/jpeg")

    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "sink").rglob("*")}
    assert modes == {0o600, 0o700}


class TestSize:
    def test_has_a_bound_beyond_which_nothing_new_comes(self, tmp_path: Path) -> None:
        FolderSink(tmp_path).put("a/1.jpg", bytes(60), "image/jpeg")  # as of another process
        sink = FolderSink(tmp_path, max_bytes=100)
        sink.put("a/2.jpg", bytes(40), "image/jpeg")

        with pytest.raises(SinkError, match=r"there are 100 bytes in .* at most 100 may be") as caught:
            sink.put("a/3.jpg", b"1", "image/jpeg")

        assert caught.value.fault == "folder_full"
        assert list(sink.walk()) == ["a/1.jpg", "a/2.jpg"]

    def test_bounds_nothing_that_is_there(self, tmp_path: Path) -> None:
        sink = FolderSink(tmp_path, max_bytes=100)
        sink.put(KEY, bytes(100), "image/jpeg")

        assert not sink.put(KEY, bytes(100), "image/jpeg")
        assert sink.put(KEY, bytes(110), "image/jpeg", replace=True)  # labels

    def test_leaves_room_once_somebody_makes_it(self, tmp_path: Path) -> None:
        sink = FolderSink(tmp_path, max_bytes=100)
        sink.put(KEY, bytes(100), "image/jpeg")
        with pytest.raises(SinkError):
            sink.put("a/1.jpg", b"1", "image/jpeg")

        (tmp_path / KEY).unlink()

        assert sink.put("a/1.jpg", b"1", "image/jpeg")

    def test_is_looked_up_again_since_others_write_too(self, tmp_path: Path) -> None:
        now = 0.0
        sink = FolderSink(tmp_path, 100, lambda: now)
        sink.put("a/1.jpg", b"1", "image/jpeg")
        (tmp_path / "a" / "2.jpg").write_bytes(bytes(99))

        now = 600.0

        with pytest.raises(SinkError, match="there are 100 bytes"):
            sink.put("a/3.jpg", b"1", "image/jpeg")


def test_what_cannot_be_done_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "sink").write_text("in the way")

    with pytest.raises(SinkError, match="cannot write samples in") as caught:
        FolderSink(tmp_path / "sink").put(KEY, b"", "image/jpeg")

    assert caught.value.fault == "disk"
