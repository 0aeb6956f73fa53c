"""Cameras before servers that are known to the last frame, in virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support.virtual_time import VirtualTime, in_virtual_time

from detector_grpc.bench.camera_report import CameraReport, Share
from detector_grpc.bench.cameras import film
from detector_grpc.bench.load import Window
from detector_grpc.client import CallFailed
from detector_grpc.client.bare import FrameAnswer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

FPS = 10
WINDOW = Window(warm_up_s=1, seconds=2)
SLOW_S = 0.03
REFUSAL = CallFailed("UNAVAILABLE", "there is no server")


class Stream:
    """Answers each frame after the same time, unless it is told otherwise.

    Args:
        outcomes: Answers of frames by their ids, where they are not looked at; None for no answer at all.
    """

    def __init__(self, outcomes: dict[int, FrameAnswer | None] | None = None) -> None:
        self._outcomes = outcomes or {}
        self._sent: asyncio.Queue[int | None] = asyncio.Queue()
        self.cancelled = False

    async def send(self, frame_id: int) -> None:
        self._sent.put_nowait(frame_id)

    async def half_close(self) -> None:
        self._sent.put_nowait(None)

    async def answers(self) -> AsyncIterator[FrameAnswer]:
        while (frame_id := await self._sent.get()) is not None:
            await asyncio.sleep(SLOW_S)
            answer = self._outcomes.get(frame_id, FrameAnswer(frame_id, SLOW_S * 1e3, None, None))
            if answer is not None:
                yield answer

    def cancel(self) -> None:
        self.cancelled = True


def filmed(*cameras: Sequence[Stream | CallFailed], stop_at_s: float | None = None) -> CameraReport:
    """What cameras come to: of each what its tries to open a stream get, one after the other; others are refused."""
    tries = [iter(each) for each in cameras]

    async def main(time: VirtualTime) -> CameraReport:
        stop = asyncio.Event()
        if stop_at_s is not None:
            asyncio.get_running_loop().call_later(stop_at_s, stop.set)

        async def open_stream(number: int) -> Stream:
            stream = next(tries[number], REFUSAL)
            if isinstance(stream, CallFailed):
                raise stream
            return stream

        return CameraReport.of(await film(open_stream, [0.05] * len(cameras), FPS, WINDOW, stop, clock=time), FPS)

    return in_virtual_time(main)


def test_every_frame_of_the_window_counts_and_none_of_the_warm_up() -> None:
    report = filmed([Stream()], [Stream()])
    assert (report.frames, report.looked_at, report.unanswered) == (40, 40, 0)
    assert report.looked_at_per_s == 20
    assert report.age is not None
    assert report.age.p99_ms == pytest.approx(SLOW_S * 1e3)
    assert report.jitter is not None
    assert report.jitter.max_ms == pytest.approx(0, abs=1e-6)
    assert [second.due for second in report.timeline] == [20, 20]


def test_frames_are_counted_by_what_became_of_them() -> None:
    outcomes: dict[int, FrameAnswer | None] = {
        11: FrameAnswer(11, 1, "superseded", None),
        12: FrameAnswer(12, 1, "superseded", None),
        13: FrameAnswer(13, 1, "overload", None),
        14: FrameAnswer(14, 1, None, CallFailed("INTERNAL", "", "INFERENCE_FAILED")),
        15: None,
    }
    report = filmed([Stream(outcomes)])
    assert (report.frames, report.looked_at, report.unanswered) == (20, 15, 1)
    assert report.dropped == {"superseded": 2, "overload": 1}
    assert report.failed == {"INTERNAL (INFERENCE_FAILED)": 1}
    assert report.warnings == ("1 frames never got an answer",)


def test_the_age_begins_when_the_picture_is_due_and_not_when_it_is_sent() -> None:
    def stalling() -> Stream:
        stream = Stream()
        send = stream.send

        async def slow(frame_id: int) -> None:
            if frame_id == 20:
                await asyncio.sleep(0.5)  # the connection takes no more
            await send(frame_id)

        stream.send = slow  # type: ignore[method-assign]
        return stream

    report = filmed([stalling()])
    assert report.age is not None
    assert report.lateness is not None
    assert report.age.max_ms == pytest.approx(530)
    assert report.age.p90_ms > 300  # also the next ones, whose turn came late
    assert report.lateness.max_ms == pytest.approx(400)  # of the next one
    assert report.age_at_server is not None
    assert report.age_at_server.max_ms == pytest.approx(30)


def test_a_camera_that_is_stopped_still_gets_its_answers() -> None:
    stream = Stream()
    report = filmed([stream], stop_at_s=2.051)
    assert report.cut_short
    assert (report.frames, report.looked_at, report.unanswered) == (11, 11, 0)
    assert report.seconds == pytest.approx(1.08, abs=0.01)
    assert stream.cancelled


def test_a_stream_that_never_ends_is_given_up() -> None:
    class Endless(Stream):
        async def half_close(self) -> None:
            pass

    report = filmed([Endless()], [Stream()])
    assert report.streams_failed == {"DEADLINE_EXCEEDED": 1}
    assert report.looked_at == 40


class Dying(Stream):
    """Ends with the answer to a frame.

    Args:
        last: Id of the frame.
        failure: How; None in good order.
    """

    def __init__(self, last: int, failure: CallFailed | None = None) -> None:
        super().__init__()
        self._last, self._failure = last, failure

    async def answers(self) -> AsyncIterator[FrameAnswer]:
        async for answer in super().answers():
            if answer.frame_id == self._last:
                if self._failure is not None:
                    raise self._failure
                return
            yield answer


@pytest.mark.parametrize("failure", [None, CallFailed("UNAVAILABLE", "connection reset")])
def test_frames_that_are_due_when_there_is_no_stream_count_as_not_sent(failure: CallFailed | None) -> None:
    report = filmed([Dying(15, failure)], [Stream()])
    assert (report.frames, report.looked_at, report.unanswered, report.unsent) == (40, 24, 1, 15)
    assert [second.due for second in report.timeline] == [20, 20]
    assert report.streams_failed == {"UNAVAILABLE": 1}
    assert report.first_failed_at_s == pytest.approx(0.48)
    assert report.streams_reopened == 0
    assert report.share is not None
    assert report.share.looked_at == (4, 20)
    assert report.warnings[0].startswith("15 frames were not sent")


def test_a_camera_whose_stream_ends_opens_another_one() -> None:
    report = filmed([Dying(15), REFUSAL, REFUSAL, Stream()])
    assert report.streams_reopened == 1
    assert (report.frames, report.unanswered) == (20, 1)
    assert 1 <= report.unsent <= 7  # the third try comes after 0.7 s at the latest
    assert report.looked_at == 20 - 1 - report.unsent
    assert report.lateness is not None
    assert report.lateness.count == 20 - report.unsent


def test_a_server_that_takes_streams_on_and_fails_again_is_given_time() -> None:
    opened: list[Stream] = []

    class Counted(Dying):
        async def answers(self) -> AsyncIterator[FrameAnswer]:
            opened.append(self)
            raise REFUSAL
            yield

    report = filmed([Counted(0) for _ in range(1000)])
    assert len(opened) < 10
    assert report.looked_at == 0
    assert report.streams_failed == {"UNAVAILABLE": len(opened)}


def test_a_stop_ends_a_camera_that_waits_for_a_stream() -> None:
    report = filmed([Dying(15)], stop_at_s=2.051)
    assert report.cut_short
    assert report.seconds == pytest.approx(1.051)
    assert (report.frames, report.looked_at, report.unsent, report.unanswered) == (11, 4, 6, 1)


def test_streams_that_are_not_taken_on_or_end_early_are_counted() -> None:
    class Broken(Stream):
        async def send(self, frame_id: int) -> None:
            if frame_id == 15:
                raise CallFailed("UNAVAILABLE", "", "SHUTTING_DOWN")
            await super().send(frame_id)

    full = CallFailed("RESOURCE_EXHAUSTED", "", "TOO_MANY_STREAMS", retry_after_s=60)
    report = filmed([full], [Broken(), Stream()], [Stream()])
    assert report.streams_failed == {"RESOURCE_EXHAUSTED (TOO_MANY_STREAMS)": 1, "UNAVAILABLE (SHUTTING_DOWN)": 1}
    assert report.first_failed_at_s == -1
    assert report.streams_reopened == 1
    assert (report.frames, report.unsent) == (60, 20)
    assert report.unanswered == 1
    assert report.share is not None
    assert report.share.looked_at == (0, 19, 20)


@pytest.mark.parametrize(
    ("looked_at", "ratio", "jain"), [([5, 5, 5], 1, 1), ([9, 0, 0], 0, 1 / 3), ([1, 3], 1 / 3, 16 / 20)]
)
def test_the_share_of_the_cameras_is_told_as_a_ratio_and_by_jains_index(
    looked_at: list[int], ratio: float, jain: float
) -> None:
    share = Share.of(looked_at)
    assert share is not None
    assert share.smallest_to_largest == pytest.approx(ratio)
    assert share.jain == pytest.approx(jain)


def test_nothing_has_no_share() -> None:
    assert Share.of([0, 0]) is None
