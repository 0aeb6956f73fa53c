"""One stream over a session that answers what the test wants: what it holds, gives back and says."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from support.sessions import FakeSession, loaded_model

from detector_grpc._gen.detector.v1 import image_pb2, stream_pb2
from detector_grpc.errors import InferenceFailed
from detector_grpc.rpc.stream import DetectStream
from detector_grpc.rpc.stream_frames import Served, StreamLimits
from detector_grpc.rpc.stream_messages import MAX_FRAME_ID, parse_config
from detector_grpc.serving.budget import Shares
from detector_grpc.serving.outcome import Call
from detector_grpc.serving.resume import ResumeTokens
from detector_grpc.serving.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from detector_grpc.serving.outcome import Outcome

TIMEOUT_S = 20
TOTAL_BYTES = 1000
PICTURE = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
LATEST, LOSSLESS = stream_pb2.DELIVERY_MODE_LATEST, stream_pb2.DELIVERY_MODE_LOSSLESS


class GatedSession(FakeSession):
    """Answers when it is let; raises instead where the test says so."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.entered, self.gate = threading.Event(), threading.Event()
        self.error = error

    def run(self, feeds: Any, outputs: Any) -> Any:
        self.entered.set()
        assert self.gate.wait(TIMEOUT_S)
        if self.error is not None:
            raise self.error
        return super().run(feeds, outputs)


class Played:
    """A stream, its messages and its answers. Must be made on the loop."""

    def __init__(self, mode: int, session: GatedSession, write: Callable[..., Any] | None = None) -> None:
        self.session = session
        self.scheduler, self.shares = Scheduler(1, 0), Shares.of(TOTAL_BYTES, 0)
        self.outcomes: list[Outcome] = []
        self.answers: list[stream_pb2.StreamDetectResponse] = []
        self.sent: asyncio.Queue[tuple[stream_pb2.StreamDetectRequest, int] | None] = asyncio.Queue()
        config = stream_pb2.StreamDetectRequest(config=stream_pb2.StreamConfig(mode=mode))
        self.stream = DetectStream(
            parse_config(config),
            None,
            loaded_model(session),
            Call("/StreamDetect", "find-me", model="tiny", version="v1"),
            Served(
                self.scheduler,
                self.shares,
                StreamLimits(max_frames_in_flight=3, max_frame_bytes=2000, config_timeout_s=9, write_timeout_s=9),
                self.outcomes.append,
            ),
            ResumeTokens(b"key"),
            None,
        )
        self.task = asyncio.create_task(self.stream.run(self._messages(), write or self._write))

    def send(self, frame_id: int, size_bytes: int = 100, encoded: bytes = PICTURE) -> None:
        frame = stream_pb2.Frame(frame_id=frame_id, image=image_pb2.Image(encoded=encoded))
        self.sent.put_nowait((stream_pb2.StreamDetectRequest(frame=frame), size_bytes))

    async def let_the_model_begin(self) -> None:
        assert await asyncio.to_thread(self.session.entered.wait, TIMEOUT_S)
        await turn()

    async def end(self) -> list[tuple[int, str | None]]:
        """Half-closes; ids and outcomes of all answers."""
        self.sent.put_nowait(None)
        self.session.gate.set()
        async with asyncio.timeout(TIMEOUT_S):
            await self.task
            await self.scheduler.close()
        results = [answer.result for answer in self.answers if answer.WhichOneof("message") == "result"]
        return [(result.frame_id, result.WhichOneof("outcome")) for result in results]

    def everything_is_given_back(self) -> bool:
        return self.shares.live.try_reserve(TOTAL_BYTES)

    async def _messages(self) -> AsyncIterator[tuple[stream_pb2.StreamDetectRequest, int]]:
        while (message := await self.sent.get()) is not None:
            yield message

    async def _write(self, answer: stream_pb2.StreamDetectResponse) -> None:
        self.answers.append(answer)


async def turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("mode", [LATEST, LOSSLESS])
async def test_when_all_is_answered_all_bytes_are_given_back(mode: int) -> None:
    played = Played(mode, GatedSession())
    for number in range(1, 5):
        played.send(number)
    played.send(5, encoded=b"no picture")
    played.send(6)
    await played.let_the_model_begin()
    found = await played.end()
    assert [frame_id for frame_id, _ in found] == [1, 2, 3, 4, 5, 6]
    assert len(played.outcomes) == 6
    assert played.everything_is_given_back()


@pytest.mark.parametrize("mode", [LATEST, LOSSLESS])
async def test_when_the_caller_leaves_all_bytes_are_given_back_and_nothing_waits(mode: int) -> None:
    played = Played(mode, GatedSession())
    for number in range(1, 4):
        played.send(number)
    await played.let_the_model_begin()
    played.task.cancel()
    await asyncio.gather(played.task, return_exceptions=True)
    assert played.scheduler.depth == 0
    played.session.gate.set()
    await played.scheduler.close()
    assert played.everything_is_given_back()
    assert sorted(outcome.frame_id for outcome in played.outcomes) == [1, 2, 3]
    assert "cancelled" in {outcome.status for outcome in played.outcomes}


async def test_no_more_lossless_frames_are_taken_than_the_credit() -> None:
    played = Played(LOSSLESS, GatedSession())
    for number in range(1, 8):
        played.send(number)
    await played.let_the_model_begin()
    assert played.sent.qsize() == 4
    assert len(await played.end()) == 7


async def test_under_overload_the_newest_frame_takes_the_place_of_the_one_that_waits_if_that_is_enough() -> None:
    played = Played(LATEST, GatedSession())
    played.send(1, size_bytes=500)
    await played.let_the_model_begin()
    played.send(2, size_bytes=400)
    played.send(3, size_bytes=500)  # there is room only without the second
    played.send(4, size_bytes=501)  # there is none, even without the third
    await turn()
    assert await played.end() == [(1, "detections"), (2, "dropped"), (3, "detections"), (4, "dropped")]
    dropped = [answer.result.dropped.reason for answer in played.answers if answer.result.HasField("dropped")]
    assert dropped == [stream_pb2.DROP_REASON_SUPERSEDED, stream_pb2.DROP_REASON_OVERLOAD]
    assert played.everything_is_given_back()


async def test_a_frame_that_finds_neither_room_nor_one_to_supersede_is_dropped() -> None:
    played = Played(LATEST, GatedSession())
    played.send(1, size_bytes=500)
    await played.let_the_model_begin()
    played.send(2, size_bytes=501)
    played.send(3, size_bytes=500)
    await turn()
    assert await played.end() == [(1, "detections"), (2, "dropped"), (3, "detections")]
    assert played.answers[2].result.dropped.reason == stream_pb2.DROP_REASON_OVERLOAD
    assert played.everything_is_given_back()


async def test_the_room_of_a_frame_that_is_superseded_goes_to_no_call_that_waits_but_what_is_left_of_it_does() -> None:
    played = Played(LATEST, GatedSession())
    played.send(1, size_bytes=500)
    await played.let_the_model_begin()
    played.send(2, size_bytes=400)
    await turn()
    call = asyncio.create_task(played.shares.calls.reserve(200))
    await turn()
    played.send(3, size_bytes=400)
    await turn()
    assert not call.done()
    played.send(4, size_bytes=300)
    await turn()
    assert call.done()
    assert await played.end() == [(1, "detections"), (2, "dropped"), (3, "dropped"), (4, "detections")]
    played.shares.calls.release(200)
    assert played.everything_is_given_back()


@pytest.mark.parametrize("wrong", [MAX_FRAME_ID + 1, 2**64 - 1, 5, 1, 0])
async def test_a_frame_of_an_id_that_is_none_moves_nothing_on(wrong: int) -> None:
    played = Played(LOSSLESS, GatedSession())
    for frame_id in (5, wrong, 4, 6):
        played.send(frame_id)
    assert await played.end() == [(5, "detections"), (wrong, "error"), (4, "error"), (6, "detections")]


async def test_the_largest_id_is_the_last() -> None:
    played = Played(LOSSLESS, GatedSession())
    for frame_id in (MAX_FRAME_ID, MAX_FRAME_ID, MAX_FRAME_ID - 1):
        played.send(frame_id)
    assert [outcome for _, outcome in await played.end()] == ["detections", "error", "error"]


async def test_a_broken_frame_uses_up_its_id() -> None:
    played = Played(LOSSLESS, GatedSession())
    played.send(1)
    played.send(2, size_bytes=2001)  # above the limit
    played.send(2)
    played.send(3)
    assert await played.end() == [(1, "detections"), (2, "error"), (2, "error"), (3, "detections")]


async def test_an_error_that_waits_to_be_answered_holds_no_picture(caplog: pytest.LogCaptureFixture) -> None:
    failure = InferenceFailed()
    failure.__cause__ = RuntimeError("no kernel")
    played = Played(LOSSLESS, GatedSession(failure))
    for number in range(1, 4):
        played.send(number)
    assert [outcome for _, outcome in await played.end()] == ["error"] * 3
    assert failure.__traceback__ is None
    assert failure.__cause__ is None
    logged = [record for record in caplog.records if record.message == "frame failed"]
    assert [(record.request_id, record.faults) for record in logged] == [("find-me", 1), ("find-me", 2)]
    assert "no kernel" in caplog.text


async def test_updates_that_are_not_read_are_not_read_either() -> None:
    blocked = asyncio.Event()

    async def write(answer: stream_pb2.StreamDetectResponse) -> None:
        if answer.WhichOneof("message") != "ready":
            await blocked.wait()

    played = Played(LOSSLESS, GatedSession(), write)
    update = stream_pb2.StreamDetectRequest(update=stream_pb2.StreamUpdate())
    for _ in range(50):
        played.sent.put_nowait((update, 10))
    await turn()
    assert played.sent.qsize() >= 40
    blocked.set()
    await played.end()


async def test_a_drained_stream_answers_what_it_took_and_takes_no_more() -> None:
    played = Played(LOSSLESS, GatedSession())
    played.send(1)
    await played.let_the_model_begin()
    played.stream.drain()
    played.send(2)
    played.session.gate.set()
    async with asyncio.timeout(TIMEOUT_S):
        await played.task
    kinds = [answer.WhichOneof("message") for answer in played.answers]
    assert sorted(kinds) == ["drain", "ready", "result"]
    assert played.answers[kinds.index("drain")].drain.last_frame_id == 1
    assert played.everything_is_given_back()
    await played.scheduler.close()
