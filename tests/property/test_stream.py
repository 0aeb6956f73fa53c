"""What holds for every order in which streams send, read, change, drain and leave, and workers end.

The workers are ours, so that every example runs the same way each time; everything between them and the messages is
real. A frame's capture time tells its answer apart where its id does not.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import cv2
import numpy as np
from hypothesis import event, given
from hypothesis import strategies as st
from support.sessions import FakeSession, loaded_model
from support.streams import LATEST, LOSSLESS, config, frame
from support.threads import Threads

from detector_grpc._gen.detector.v1 import stream_pb2
from detector_grpc.rpc.stream import DetectStream
from detector_grpc.rpc.stream_frames import Served, StreamLimits
from detector_grpc.rpc.stream_messages import parse_config
from detector_grpc.serving.budget import Shares
from detector_grpc.serving.outcome import Call
from detector_grpc.serving.resume import ResumeTokens
from detector_grpc.serving.scheduler import Priority, Scheduler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from detector_grpc._gen.detector.v1.stream_pb2 import StreamDetectRequest, StreamDetectResponse
    from detector_grpc.serving.outcome import Outcome

TIMEOUT_S = 20
TOTAL_BYTES = 1000
MODES = (LATEST, LOSSLESS, LATEST)
PICTURE = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()


@dataclass
class Send:
    """A frame that is as it should be, broken, above the limit, or has the id of one before it."""

    fault: str
    size_bytes: int


@dataclass
class Update:
    confidence: float


@dataclass
class Read:
    """The caller reads some of the answers."""

    answers: int


@dataclass
class Finish:
    which: int


@dataclass
class Turn:
    """Lets the loop run so many times."""

    times: int


@dataclass
class Drain:
    pass


@dataclass
class Leave:
    pass


@dataclass
class HalfClose:
    pass


FRAMES = st.builds(Send, st.sampled_from(["", "", "", "broken", "too large", "old id"]), st.integers(1, 450))
OF_A_STREAM = st.one_of(
    FRAMES,
    FRAMES,
    FRAMES,
    st.builds(Update, st.sampled_from([0.5, 7.0])),
    st.builds(Read, st.integers(1, 5)),
)
WHICH = st.integers(0, len(MODES) - 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(WHICH, OF_A_STREAM),
        st.tuples(WHICH, OF_A_STREAM),
        st.builds(Finish, st.integers(0, 3)),
        st.builds(Turn, st.integers(1, 8)),
    ),
    min_size=20,
    max_size=60,
)
# A stream may end at any step, or none.
ENDS = st.dictionaries(
    st.integers(0, 60), st.tuples(WHICH, st.sampled_from([Drain(), Leave(), HalfClose()])), max_size=3
)


class Played:
    """One stream and its caller."""

    def __init__(self, mode: int, scheduler: Scheduler, shares: Shares) -> None:
        self.mode = mode
        self.sent = 0
        self.outcomes: list[Outcome] = []
        self.answers: list[StreamDetectResponse] = []
        self.closed = self.drained = self.left = False
        self._incoming: asyncio.Queue[tuple[StreamDetectRequest, int] | None] = asyncio.Queue()
        self._reads = asyncio.Semaphore(0)
        limits = StreamLimits(max_frames_in_flight=3, max_frame_bytes=450, config_timeout_s=9, write_timeout_s=9)
        self.stream = DetectStream(
            parse_config(config(mode)),
            None,
            loaded_model(FakeSession()),
            Call("/StreamDetect", "id", model="tiny", version="v1"),
            Served(scheduler, shares, limits, self.outcomes.append),
            ResumeTokens(b"key"),
            None,
        )
        self.task = asyncio.create_task(self.stream.run(self._messages(), self._write))

    def take(self, step: object) -> None:
        match step:
            case Send(fault, size_bytes) if not self.closed:
                self.sent += 1
                encoded = b"no picture" if fault == "broken" else PICTURE
                message = frame(1 if fault == "old id" else self.sent, encoded)
                message.frame.capture_time.seconds = self.sent
                self._incoming.put_nowait((message, 451 if fault == "too large" else size_bytes))
            case Update(confidence) if not self.closed:
                update = stream_pb2.StreamUpdate()
                update.options.confidence_threshold = confidence
                self._incoming.put_nowait((stream_pb2.StreamDetectRequest(update=update), 10))
            case Read(answers):
                for _ in range(answers):
                    self._reads.release()
            case Drain():
                self.drained = True
                self.stream.drain()
            case Leave():
                self.left |= self.task.cancel()
            case HalfClose() if not self.closed:
                self.closed = True
                self._incoming.put_nowait(None)

    def check(self) -> None:
        """Every frame that was taken has one answer and one outcome, in the order of sending."""
        kinds = [answer.WhichOneof("message") for answer in self.answers]
        results = [answer.result for answer in self.answers if answer.WhichOneof("message") == "result"]
        told = [result.capture_time.seconds for result in results]
        taken = len(self.outcomes)
        event(f"{'left' if self.left else 'drained' if self.drained else 'to its end'}")
        assert told == list(range(1, len(told) + 1))
        assert taken <= self.sent
        if self.left:
            assert len(told) <= taken
            return
        assert kinds[0] == "ready"
        assert kinds.count("drain") <= self.drained
        assert len(told) == taken
        if "drain" in kinds:
            last = self.answers[kinds.index("drain")].drain.last_frame_id
            assert last == max((result.frame_id for result in results), default=0)
        else:
            assert taken == self.sent
        for result in results:
            event(f"{result.WhichOneof('outcome')} {result.dropped.reason if result.HasField('dropped') else ''}")
            if self.mode == LOSSLESS:
                assert result.WhichOneof("outcome") != "dropped"

    async def _messages(self) -> AsyncIterator[tuple[StreamDetectRequest, int]]:
        while (message := await self._incoming.get()) is not None:
            yield message

    async def _write(self, answer: StreamDetectResponse) -> None:
        await self._reads.acquire()
        self.answers.append(answer)


async def play(workers: int, steps: list[object]) -> None:
    ticks = count()
    threads = Threads(lambda: float(next(ticks)))
    scheduler = Scheduler(workers, 0)
    scheduler._threads = dict.fromkeys(Priority, threads)  # type: ignore[arg-type]
    shares = Shares.of(TOTAL_BYTES, 0)
    streams = [Played(mode, scheduler, shares) for mode in MODES]
    for step in steps:
        match step:
            case Finish(which):
                threads.finish(which)
            case Turn(times):
                for _ in range(times):
                    await asyncio.sleep(0)
            case (int(which), of_a_stream):
                streams[which].take(of_a_stream)
    for stream in streams:
        stream.take(HalfClose())
        stream.take(Read(1000))
    async with asyncio.timeout(TIMEOUT_S):
        ended = asyncio.gather(*(stream.task for stream in streams), return_exceptions=True)
        while threads.finish() or not ended.done():  # noqa: ASYNC110 - the workers have no event to wait for
            await asyncio.sleep(0)
        await scheduler.close()
    for stream in streams:
        assert stream.task.cancelled() or stream.task.exception() is None
        stream.check()
    assert scheduler.depth == 0
    assert shares.live.try_reserve(TOTAL_BYTES)
    assert threads.most <= 2 * workers


@given(st.integers(1, 2), STEPS, ENDS)
def test_every_frame_that_was_taken_has_exactly_one_answer(
    workers: int, steps: list[object], ends: dict[int, object]
) -> None:
    for place, end in ends.items():
        steps.insert(place, end)
    asyncio.run(play(workers, steps))
