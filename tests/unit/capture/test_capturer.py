"""What becomes of pictures that may be worth keeping, and that all of it is counted."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.pictures import jpeg
from support.samples import Counted, outcome, scene, scene_file

from detector_grpc.capture import capturer as module
from detector_grpc.capture.capturer import MAX_WAITING, Candidate, Capturer
from detector_grpc.capture.gate import Choice, Gate
from detector_grpc.capture.ledger import Budget, Ledger
from detector_grpc.capture.maker import Maker, Redaction
from detector_grpc.capture.spool import Spool, SpoolLimits, samples_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from detector_grpc.serving.outcome import Outcome


ROOMY = Budget(1000, 1000, 0.0)


def candidate_of(about: Outcome, stream: str = "") -> Candidate:
    return Candidate(about, stream, ("uncertain",), {})


class World:
    """A capturer whose clock is set by hand.

    Attributes:
        kept: How many samples there are.
    """

    def __init__(self, folder: Path, budget: Budget = ROOMY, redaction: Redaction | None = None) -> None:
        self.folder = folder
        self.now = 1e9
        self.told = 0
        self.spool = Spool(folder / "spool", SpoolLimits(10**9, 1e12, "oldest"))
        self.gate = Gate(Choice(0.7, budget.cooldown_s), lambda: self.now)
        self.count = Counted(self.spool)
        self.ledger = Ledger(folder, budget)
        self.capturer = Capturer(
            self.ledger,
            Maker(10**6, redaction or Redaction(frozenset())),
            self.spool,
            self.gate,
            self.count.metrics,
            100_000,
            self._tell,
            lambda: self.now,
        )

    @property
    def kept(self) -> int:
        return len(list(samples_in(self.folder)))

    def _tell(self) -> None:
        self.told += 1

    def show(self, picture: bytes, stream: str = "", **fields: Any) -> str:
        """What becomes of an uncertain picture that comes now."""
        about = outcome(picture, stream_id=stream, **fields)
        if refusal := self.gate.refusal(stream):
            return refusal
        return self.capturer._decided(candidate_of(about, stream))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.ledger.close()


def frame(image: NDArray[np.uint8], number: int) -> bytes:
    """As a camera sees it: noise that differs from frame to frame, light that flickers, and JPEG."""
    rng = np.random.default_rng(number)
    light = 4 * np.sin(number / 7)
    return jpeg((image + rng.normal(light, 8, image.shape)).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("wall", [False, True])
def test_a_still_camera_gives_hardly_any_sample_and_a_cut_one_more(tmp_path: Path, *, wall: bool) -> None:
    world = World(tmp_path, Budget(1000, 1000, 1.0))
    still = np.full((120, 160, 3), 140, np.uint8) if wall else scene(1, 160, 120)

    for number in range(1000):
        world.now += 0.1
        world.show(frame(still, number), "hall")
    before_the_cut = world.kept
    for number in range(100):
        world.now += 0.1
        world.show(frame(scene(2, 160, 120), number), "hall")

    assert 1 <= before_the_cut <= 3
    assert world.kept == before_the_cut + 1


def test_an_object_that_comes_into_the_scene_is_worth_a_sample(world: World) -> None:
    scene_with = scene(1)
    scene_with[100:150, 150:190] = 255 - scene_with[100:150, 150:190]

    assert world.show(frame(scene(1), 0), "hall") == "captured"
    assert world.show(frame(scene_with, 1), "hall") == "captured"
    assert world.show(frame(scene_with, 2), "hall") == "duplicate"


def test_the_gate_is_closed_while_the_budget_is_used_up(tmp_path: Path) -> None:
    world = World(tmp_path, Budget(2, 1000, 0.0))

    found = [world.show(scene_file(seed)) for seed in range(4)]
    world.now += 3600

    assert found == ["captured", "captured", "over_budget", "over_budget"]
    assert world.gate.refusal("") == ""
    assert world.show(scene_file(9)) == "captured"


def test_a_picture_over_the_limit_is_not_kept(world: World, caplog: pytest.LogCaptureFixture) -> None:
    large = scene_file(1) + bytes(100_000)

    assert world.show(large) == "too_large"
    assert world.show(large) == "too_large"

    assert world.count("faults_total", fault="too_large") == 2
    assert caplog.text.count("DETECTOR_CAPTURE_MAX_PICTURE_BYTES") == 1
    assert world.kept == 0


@pytest.mark.parametrize(
    ("number", "fault", "advice"),
    [
        (errno.ENOSPC, "disk_full", "the disk is full; make room"),
        (errno.EROFS, "not_writable", "DETECTOR_CAPTURE_STATE"),
        (errno.EIO, "disk", "Input/output error"),
    ],
)
def test_a_disk_that_takes_nothing_is_told_once_and_costs_no_budget(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
    fault: str,
    advice: str,
) -> None:
    world = World(tmp_path, Budget(1, 1000, 0.0))

    def fail(*_: object) -> None:
        raise OSError(number, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(world.spool, "add", fail)
        assert [world.show(scene_file(1)) for _ in range(3)] == ["failed"] * 3

    assert world.count("faults_total", fault=fault) == 3
    assert caplog.text.count(advice) == 1
    assert world.show(scene_file(1)) == "captured"


def test_a_ledger_that_cannot_be_used_keeps_nothing_and_says_so(world: World, caplog: pytest.LogCaptureFixture) -> None:
    (world.folder / "ledger.sqlite").mkdir()

    assert world.show(scene_file(1)) == "failed"

    assert world.count("faults_total", fault="ledger") == 1
    assert "see that DETECTOR_CAPTURE_STATE is a folder" in caplog.text


def test_nothing_is_written_where_hiding_fails(tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no idea how")

    world = World(tmp_path, redaction=Redaction(frozenset(["face"]), fail))
    box = np.array([[0, 0, 100, 100]], np.float32)

    assert world.show(scene_file(1), boxes=box, class_id=1) == "failed"
    assert world.kept == 0
    assert world.count("faults_total", fault="unexpected") == 1
    assert world.show(scene_file(1), boxes=box, class_id=0) == "captured"


def test_a_clock_that_goes_back_is_counted(world: World) -> None:
    world.show(scene_file(1))
    world.now -= 10_000

    assert world.show(scene_file(2)) == "captured"
    assert world.count("faults_total", fault="clock") == 1


def test_all_that_was_taken_is_decided_on_before_the_end(world: World) -> None:
    for seed in range(5):
        about = outcome(scene_file(seed))
        assert world.capturer.take(candidate_of(about))
    world.capturer.start()
    world.capturer.stop(patience_s=20)

    assert world.kept == world.told == 5
    assert world.count("samples_total", model="m", version="v1") == 5
    assert world.count("pictures_total", model="m", version="v1", outcome="captured") == 5


def test_only_so_many_wait_to_be_decided_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    about = outcome(scene_file(1))
    candidate = candidate_of(about)

    assert [world.capturer.take(candidate) for _ in range(MAX_WAITING + 1)] == [True] * MAX_WAITING + [False]
    other = World(world.folder / "other")
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 2 * candidate.size_bytes)
    assert [other.capturer.take(candidate) for _ in range(3)] == [True, True, False]
