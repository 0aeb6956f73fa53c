"""What waits reaches its sink once, whatever goes wrong on the way."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from support.samples import NOON, Counted, sample

from detector_grpc.capture.sample import Label, Sidecar
from detector_grpc.capture.sinks.folder import FolderSink
from detector_grpc.capture.sinks.sink import README_KEY, SinkError
from detector_grpc.capture.spool import Spool, SpoolLimits, samples_in
from detector_grpc.capture.uploader import Pauses, Uploader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Moody(FolderSink):
    """A folder that does not always take what it is given.

    Attributes:
        refuses: Says what is wrong with a key; None if nothing is.
        puts: Keys that were brought.
        on_put: Called before.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.refuses: Callable[[str], str | None] = lambda _: None
        self.puts: list[str] = []
        self.on_put: Callable[[], object] = lambda: None

    def put(self, key: str, data: bytes, media_type: str, *, replace: bool = False) -> bool:
        self.on_put()
        if fault := self.refuses(key):
            raise SinkError(fault, f"it is {fault}; do something")
        self.puts.append(key)
        return super().put(key, data, media_type, replace=replace)


class World:
    def __init__(self, folder: Path) -> None:
        self.spools = folder / "spool"
        self.spool = Spool(self.spools, SpoolLimits(10**9, 1e12, "oldest"))
        self.sink = Moody(folder / "sink")
        self.count = Counted(self.spool)
        self.uploader = self.another()
        self.spool.open()

    def another(self) -> Uploader:
        return Uploader(self.spool, self.sink, self.count.metrics, Pauses(1, 8), chance=lambda: 1.0)

    def add(self, *pictures: bytes) -> None:
        for number, picture in enumerate(pictures):
            self.spool.add(sample(picture, captured_at=NOON + timedelta(seconds=number)))

    def brought(self) -> list[str]:
        return [key for key in self.sink.walk() if key != README_KEY]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_samples_reach_the_sink_and_leave_the_spool(world: World) -> None:
    world.add(b"one", b"two")

    assert [world.uploader.step() for _ in range(3)] == [0, 0, None]

    pictures = {world.sink.get(key) for key in world.brought() if key.endswith(".jpg")}
    assert pictures == {b"one", b"two"}
    assert {Sidecar.from_json(world.sink.get(key)).width for key in world.brought() if key.endswith(".json")} == {64}
    assert b"# Samples" in world.sink.get(README_KEY)
    assert list(samples_in(world.spools)) == []
    assert world.count("uploads_total", outcome="uploaded") == 2
    assert world.count("spool_samples") == 0


def test_the_sidecar_comes_last(world: World) -> None:
    world.add(b"one")
    world.uploader.step()

    assert [key.rpartition(".")[2] for key in world.sink.puts] == ["jpg", "json", "md"]


def test_a_sink_that_is_away_is_asked_again_with_pauses_that_double(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.add(b"one")
    world.sink.refuses = lambda _: "away"

    pauses = [world.uploader.step() for _ in range(6)]
    world.sink.refuses = lambda _: None

    assert pauses == [1, 2, 4, 8, 8, 8]
    assert world.uploader.step() == 0
    assert world.count("faults_total", fault="away") == 6
    assert caplog.text.count("it is away; do something") == 1


def test_a_sample_that_is_never_taken_keeps_no_other_from_its_way(world: World) -> None:
    world.add(b"bad", b"good", b"better")
    bad = sample(b"bad").sidecar.keys.picture
    world.sink.refuses = lambda key: "refused" if key == bad else None

    for _ in range(8):
        world.uploader.step()

    assert len(world.brought()) == 4
    assert len(world.spool) == 1


def test_a_sample_that_cannot_be_read_keeps_no_other_from_its_way(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.add(b"bad", b"good", b"better")
    bad = min(samples_in(world.spools))
    bad.unlink()
    bad.mkdir()  # as reading from a bad block is, an OSError

    for _ in range(8):
        world.uploader.step()

    assert len(world.brought()) == 4
    assert len(world.spool) == 1
    assert "samples wait on this machine: one cannot be read" in caplog.text
    assert world.count("faults_total", fault="disk") > 1


def test_what_is_there_already_stays_as_it_is_with_its_labels(world: World) -> None:
    labelled = sample(b"one", labels=(Label(class_name="car", bbox=(0, 0, 1, 1)),))
    world.sink.put(labelled.sidecar.keys.sidecar, labelled.sidecar.to_json(), "")
    world.add(b"one")

    world.uploader.step()

    assert Sidecar.from_json(world.sink.get(labelled.sidecar.keys.sidecar)).labels == labelled.sidecar.labels
    assert world.count("uploads_total", outcome="already_there") == 1
    assert len(world.spool) == 0


def test_what_is_erased_on_its_way_is_taken_back(world: World) -> None:
    world.add(b"one")

    def erase() -> None:
        for path in samples_in(world.spools):
            path.unlink()

    world.sink.on_put = erase
    world.uploader.step()

    assert world.brought() == []
    assert len(world.spool) == 0
    assert world.count("uploads_total", outcome="uploaded") == 0


def test_a_spool_that_cannot_be_opened_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "spool").write_text("in the way")
    spool = Spool(tmp_path / "spool" / "sink", SpoolLimits(10**9, 1e12, "oldest"))
    count = Counted(spool)
    uploader = Uploader(spool, FolderSink(tmp_path / "sink"), count.metrics, Pauses(1, 8), chance=lambda: 1.0)

    assert uploader.step() == 1
    assert "samples cannot be kept" in caplog.text
    (tmp_path / "spool").unlink()

    assert uploader.step() is None
    assert spool.is_open


def test_the_thread_brings_what_comes_and_ends_when_it_is_told_to(world: World) -> None:
    world.uploader.start()
    world.add(b"one")
    world.uploader.wake()
    world.uploader.stop(patience_s=20)

    assert len(world.brought()) == 2
    assert not world.spool.is_open


def test_a_sink_that_hangs_does_not_keep_the_process_from_ending(world: World) -> None:
    hanging, release = threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        release.wait(20)

    world.sink.on_put = hang
    world.add(b"one")
    world.uploader.start()
    assert hanging.wait(20)

    world.uploader.stop(patience_s=0)

    release.set()
    assert len(list(samples_in(world.spools))) == 1
