"""Which outcomes are looked at, and that nobody waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.samples import Counted, outcome

from detector_grpc.capture.gate import Choice, Gate
from detector_grpc.capture.spool import Spool, SpoolLimits
from detector_grpc.interceptors.capture import Capture
from detector_grpc.interceptors.later import Later
from detector_grpc.serving.frames import DropReason
from detector_grpc.serving.outcome import Call, Outcome
from detector_grpc.vision.agreement import Agreement

if TYPE_CHECKING:
    from pathlib import Path

    from detector_grpc.capture.capturer import Candidate


BOX = np.array([[0, 0, 40, 30]], np.float32)
NO_BOX = np.empty((0, 4), np.float32)


class Capturer:
    def __init__(self) -> None:
        self.taken: list[Candidate] = []
        self.has_room = True

    def take(self, candidate: Candidate) -> bool:
        if self.has_room:
            self.taken.append(candidate)
        return self.has_room


class World:
    def __init__(self, folder: Path) -> None:
        spool = Spool(folder, SpoolLimits(10**9, 1e9, "oldest"))
        self.capturer = Capturer()
        self.count = Counted(spool)
        self.later = Later()
        gate = Gate(Choice(0.7, 10.0), lambda: 100.0)
        self.capture = Capture(gate, self.capturer, None, self.count.metrics, self.later)  # type: ignore[arg-type]

    def streams(self) -> list[str]:
        return [each.stream for each in self.capturer.taken]

    def counted(self, became: str) -> float:
        self.later.flush()
        return self.count("pictures_total", model="m", version="v1", outcome=became)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_uncertain_pictures_are_taken_and_others_are_nobodys_business(world: World) -> None:
    world.capture.observe(outcome(score=0.9))
    world.capture.observe(outcome(score=0.1))
    world.capture.observe(Outcome(Call("/Detect", "1", model="m", version="v1"), "internal", 0.1))
    world.capture.observe(
        Outcome(Call("/Stream", "1", model="m", version="v1"), "ok", 0.1, frame_id=1, dropped=DropReason.STALE)
    )

    assert [each.reasons for each in world.capturer.taken] == [("uncertain",)]


async def test_who_does_not_want_it_is_not_kept(world: World) -> None:
    world.capture.observe(outcome(score=0.9, may_be_kept=False))

    assert world.capturer.taken == []
    assert world.counted("opted_out") == 1


async def test_a_stream_is_known_by_its_name_else_by_its_call(world: World) -> None:
    world.capture.observe(outcome(frame_id=1, stream_id="hall", request_id="r1"))
    world.capture.observe(outcome(frame_id=2, stream_id="hall", request_id="r2"))
    world.capture.observe(outcome(frame_id=1, request_id="r3"))
    world.capture.observe(outcome(frame_id=2, request_id="r3"))
    world.capture.observe(outcome(request_id="r4"))
    world.capture.observe(outcome(request_id="r4"))

    assert world.streams() == ["hall", "r3", "", ""]
    assert world.counted("cooldown") == 2


async def test_a_class_that_is_hardly_ever_seen_is_a_reason(world: World) -> None:
    for _ in range(100):
        world.capture.observe(outcome(score=0.1, boxes=BOX, class_id=0))
    world.capture.observe(outcome(score=0.1, boxes=BOX, class_id=1))
    world.capture.observe(outcome(score=0.1, boxes=BOX, class_id=0))

    (taken,) = world.capturer.taken
    assert taken.reasons == ("class_rarity",)
    assert taken.signals["class_rarity"] == 1


async def test_a_frame_in_which_everything_flickers_is_a_reason_once_the_next_one_is_there(world: World) -> None:
    for frame_id, boxes in enumerate([BOX, NO_BOX, BOX, BOX], start=1):
        world.capture.observe(outcome(score=0.1, boxes=boxes, frame_id=frame_id, stream_id="hall"))

    (taken,) = world.capturer.taken
    assert (taken.outcome.frame_id, taken.reasons, taken.stream) == (2, ("flicker",), "hall")


async def test_what_two_versions_do_not_see_alike_is_a_reason_unless_it_was_considered(world: World) -> None:
    world.capture.compared(outcome(score=0.1), Agreement(0, 0, 1, 1))
    world.capture.compared(outcome(score=0.1), Agreement(9, 0, 1, 0))
    world.capture.compared(outcome(score=0.9), Agreement(0, 0, 1, 1))
    world.capture.compared(outcome(score=0.1, may_be_kept=False), Agreement(0, 0, 1, 1))

    assert [each.reasons for each in world.capturer.taken] == [("disagreement",)]
    assert world.counted("opted_out") == 1


async def test_what_finds_no_room_is_skipped_and_counted(world: World) -> None:
    world.capturer.has_room = False
    world.capture.observe(outcome())

    assert world.counted("skipped") == 1


async def test_the_series_of_a_version_are_there_from_the_start(world: World) -> None:
    world.capture.add_version("m", "v1")

    assert world.count("samples_total", model="m", version="v1") == 0
    assert world.counted("duplicate") == 0
