"""What is told of a stream while it runs, and when it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from detector_grpc._gen.detector.v1 import detection_pb2, detector_service_pb2
from detector_grpc.cli.stream import tally as module
from detector_grpc.cli.stream.display import bar, table
from detector_grpc.cli.stream.tally import Tally
from detector_grpc.client import CallFailed, StreamAnswer, StreamFrame
from detector_grpc.client.results import detection_result

if TYPE_CHECKING:
    from detector_grpc.client import DetectionResult

FRAME = StreamFrame(b"")


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def tally(clock: Clock) -> Tally:
    tally = Tally("a [b].mp4", 200)
    clock.now += 5  # of connecting
    tally.begin()
    return tally


def found(*objects: tuple[str, int]) -> DetectionResult:
    detections = [detection_pb2.Detection(class_name=name, track_id=track_id) for name, track_id in objects]
    return detection_result(detector_service_pb2.DetectResponse(detections=detections))


def answered(tally: Tally, clock: Clock, count: int, every_s: float, age_ms: float) -> None:
    for number in range(count):
        clock.now += every_s
        tally.count(StreamAnswer(FRAME, number + 1, None, result=found(), total_ms=age_ms))


def rendered(tally: Tally, width: int = 80) -> tuple[str, str]:
    console = Console(width=width, record=True)
    console.print(bar(tally))
    line = console.export_text()
    console.print(table([tally]))
    return line, console.export_text()


def test_while_it_runs_rates_are_those_of_the_last_seconds(tally: Tally, clock: Clock) -> None:
    answered(tally, clock, 100, every_s=0.02, age_ms=10)
    answered(tally, clock, 40, every_s=0.1, age_ms=80)
    assert tally.fps == pytest.approx(10, abs=0.6)
    assert tally.age_ms == pytest.approx(80)


def test_at_the_end_rates_are_those_of_the_whole(tally: Tally, clock: Clock) -> None:
    answered(tally, clock, 100, every_s=0.02, age_ms=10)
    answered(tally, clock, 100, every_s=0.06, age_ms=30)
    clock.now += 60
    tally.end("done")
    assert tally.fps == pytest.approx(200 / 8)
    assert tally.age_ms == pytest.approx(20)


def test_frames_are_counted_by_what_became_of_them(tally: Tally, clock: Clock) -> None:
    answered(tally, clock, 3, every_s=0.1, age_ms=10)
    tally.count(StreamAnswer(FRAME, 4, None, dropped="stale"))
    tally.count(StreamAnswer(FRAME, 5, None, error=CallFailed("INVALID_ARGUMENT", "it is no picture")))
    assert (tally.frames, tally.found, tally.dropped, tally.errors) == (5, 3, 1, 1)
    assert (tally.fault, tally.failed) == ("INVALID_ARGUMENT: it is no picture", False)


def test_an_object_is_counted_once(tally: Tally) -> None:
    for objects in ([("cat", 1), ("dog", 2)], [("cat", 1), ("cat", 3)]):
        tally.count(StreamAnswer(FRAME, 1, None, result=found(*objects)))
    assert tally.identities == {"cat": 2, "dog": 1}


def test_a_server_that_is_silent_is_told_until_it_answers(tally: Tally, clock: Clock) -> None:
    answered(tally, clock, 2, every_s=0.1, age_ms=10)
    clock.now += 2
    assert "running" in rendered(tally)[0]
    clock.now += 5
    assert all("no answer for 7 s" in text for text in rendered(tally))
    answered(tally, clock, 1, every_s=0.1, age_ms=10)
    assert "running" in rendered(tally)[0]


def test_a_source_that_is_lost_is_told_instead(tally: Tally, clock: Clock) -> None:
    tally.state = "lost, next try in 4 s"
    clock.now += 60
    assert all("lost, next try in 4 s" in text for text in rendered(tally))


def test_a_bar_fits_into_one_line_of_a_terminal(tally: Tally, clock: Clock) -> None:
    answered(tally, clock, 120, every_s=0.03, age_ms=345)
    for _ in range(1234):
        tally.count(StreamAnswer(FRAME, 1, None, dropped="superseded"))
    line, _ = rendered(tally)
    assert len(line.splitlines()) == 1
    assert line.startswith("a [b].mp4")
    assert "1354/200  33.5 fps  age 345 ms  1234 dropped  running" in line


def test_before_the_first_result_there_is_no_age(tally: Tally) -> None:
    assert "age -" in rendered(tally)[0]
