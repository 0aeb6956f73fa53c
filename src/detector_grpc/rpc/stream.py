"""One stream of StreamDetect, from its config to its last answer.

Three things go on beside each other, and all of them belong to the event loop: messages are read as long as there is
room for frames; workers look at frames whenever they are free; answers are written in the order of the frames. What may
be dropped, and that nothing is answered twice or not at all, is the business of the frames and their book.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from random import uniform
from typing import TYPE_CHECKING, cast

from detector_grpc._gen.detector.v1 import stream_pb2
from detector_grpc.errors import AnswersNotRead, InvalidRequest, Violation
from detector_grpc.rpc import convert, stream_messages
from detector_grpc.rpc.status import status_message
from detector_grpc.rpc.stream_frames import Detected, StreamFrames
from detector_grpc.serving.resume import Resumption

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from detector_grpc._gen.detector.v1 import detection_pb2
    from detector_grpc.rpc.stream_frames import Held, Served
    from detector_grpc.rpc.stream_messages import StreamConfig
    from detector_grpc.serving.frames import DropReason, Frame
    from detector_grpc.serving.options import DetectOptions, RequestedOptions
    from detector_grpc.serving.outcome import Call
    from detector_grpc.serving.registry import LoadedModel
    from detector_grpc.serving.resume import ResumeTokens
    from detector_grpc.serving.tracking import Tracker
    from detector_grpc.vision.detections import Detections

    Messages = AsyncIterator[tuple[stream_pb2.StreamDetectRequest, int]]  # with their sizes on the wire, in bytes
    Write = Callable[[stream_pb2.StreamDetectResponse], Awaitable[None]]


_AGES = 0.9, 1.1  # of the largest, at which streams move


class DetectStream:
    """Answers one stream.

    Args:
        config: The first message.
        resumption: Where the stream that this one continues was drained; None for a new one.
        loaded: The model that answers all of it.
        call: The call.
        served: What it shares with other streams.
        tokens: What makes the token of a drain.
        tracker: What gives objects their identity; None for none.

    Attributes:
        loaded: The model.

    Raises:
        InvalidRequest: The options name a class that the model does not have.
    """

    def __init__(
        self,
        config: StreamConfig,
        resumption: Resumption | None,
        loaded: LoadedModel,
        call: Call,
        served: Served,
        tokens: ResumeTokens,
        tracker: Tracker | None,
    ) -> None:
        self.loaded = loaded
        self._call = call
        self._limits = served.limits
        self._tokens = tokens
        self._tracker = tracker
        self._heartbeat_s = config.heartbeat_s
        self._changed, self._room, self._ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        last_frame_id = resumption.last_frame_id if resumption else 0
        self._frames = StreamFrames(config, last_frame_id, loaded, call, served, self._changed.set)
        self._notes = deque([self._ready(self._resolved(config.options))])
        self._reader: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._last_write = 0.0
        self._no_more_frames = self._drain_due = False

    async def run(self, messages: Messages, write: Write) -> None:
        """Answers until the caller has closed its side, or the stream is drained, and every frame has its answer.

        Raises:
            InvalidRequest: A message is none that may come there; all frames before it are answered.
            AnswersNotRead: The caller does not read.
        """
        self._reader = asyncio.create_task(self._read(messages))
        old = self._drain_when_old()
        try:
            await self._answer_all(write)
        finally:
            if old is not None:
                old.cancel()
            self._reader.cancel()
            try:
                await self._frames.abandon(asyncio.CancelledError())
            finally:
                self._ended.set()
        if self._failure is not None:
            raise self._failure

    def drain(self) -> None:
        """Takes no more frames; the caller is told where to go on, and gets the answers to those that were taken."""
        if self._no_more_frames or self._reader is None:
            return
        self._no_more_frames = self._drain_due = True
        self._reader.cancel()
        self._changed.set()

    async def end(self) -> None:
        """Drains, and returns when everything is answered."""
        self.drain()
        await self._ended.wait()

    def _drain_when_old(self) -> asyncio.TimerHandle | None:
        """Streams that began together do not move together."""
        max_age_s = self._limits.max_age_s
        if not max_age_s:
            return None
        age_s = max_age_s * uniform(*_AGES)  # noqa: S311 - no secret
        return asyncio.get_running_loop().call_later(age_s, self.drain)

    async def _read(self, messages: Messages) -> None:
        try:
            await self._read_all(messages)
        except Exception as error:  # noqa: BLE001 - raised by `run` when all frames before it are answered
            self._failure = error
        finally:
            self._no_more_frames = True
            self._changed.set()

    async def _read_all(self, messages: Messages) -> None:
        async for message, size_bytes in messages:
            match message.WhichOneof("message"):
                case "frame":
                    await self._frames.take(message.frame, size_bytes)
                case "update":
                    self._update(message.update)
                case "config":
                    raise InvalidRequest([Violation("config", "only the first message of a stream may be a config")])
                case _:
                    raise InvalidRequest([Violation("", "the message is neither a frame nor an update")])
            await self._wait_for_room()

    def _update(self, update: stream_pb2.StreamUpdate) -> None:
        answer = stream_pb2.StreamUpdated()
        try:
            options = stream_messages.parse_update(update)
            used = self._resolved(options)
        except InvalidRequest as error:
            answer.error.CopyFrom(status_message(error, self._call.request_id))
        else:
            self._frames.options = options
            answer.options.CopyFrom(convert.options_message(used))
        self._notes.append(stream_pb2.StreamDetectResponse(updated=answer))
        self._changed.set()

    async def _wait_for_room(self) -> None:
        while not self._frames.has_room(len(self._notes)):
            self._room.clear()
            await self._room.wait()

    async def _answer_all(self, write: Write) -> None:
        while True:
            self._changed.clear()
            if self._drain_due:
                self._drain_due = False
                self._notes.append(self._drained())
            while self._notes:
                await self._send(write, self._notes.popleft())
                self._room.set()
            for frame in self._frames.answers():
                await self._send(write, await self._answer(frame))
                self._room.set()
            if self._changed.is_set():
                continue
            if self._no_more_frames and not self._frames.unanswered:
                return
            try:
                async with asyncio.timeout_at(self._last_write + self._heartbeat_s):
                    await self._changed.wait()
            except TimeoutError:
                await self._send(write, stream_pb2.StreamDetectResponse(heartbeat=stream_pb2.Heartbeat()))

    async def _send(self, write: Write, message: stream_pb2.StreamDetectResponse) -> None:
        try:
            async with asyncio.timeout(self._limits.write_timeout_s):
                await write(message)
        except TimeoutError:
            raise AnswersNotRead(self._limits.write_timeout_s) from None
        self._last_write = asyncio.get_running_loop().time()

    async def _answer(self, frame: Frame[Held]) -> stream_pb2.StreamDetectResponse:
        match frame.outcome:
            case Detected(message, result):
                await self._identify(result.detections, message.detections)
                answer: stream_messages.FrameOutcome = message
            case BaseException() as error:
                await self._identify(None, ())
                answer = status_message(error, self._call.request_id)
            case reason:
                await self._identify(None, ())
                answer = cast("DropReason", reason)
        held = frame.payload
        return stream_messages.frame_result(held.frame_id, held.capture_time, time.monotonic() - frame.arrived, answer)

    async def _identify(self, found: Detections | None, messages: Sequence[detection_pb2.Detection]) -> None:
        """Gives the detections of the next frame their track ids; None is a frame that was not looked at."""
        if self._tracker is not None:
            track_ids = await asyncio.to_thread(self._tracker.follow, found)
            for message, track_id in zip(messages, track_ids, strict=True):
                if track_id is not None:
                    message.track_id = track_id

    def _ready(self, used: DetectOptions) -> stream_pb2.StreamDetectResponse:
        ready = stream_pb2.StreamReady(
            model=self._call.model,
            version=self._call.version,
            options=convert.options_message(used),
            max_frames_in_flight=self._limits.max_frames_in_flight,
            max_frame_bytes=self._limits.max_frame_bytes,
            heartbeat_interval_ms=round(self._heartbeat_s * 1e3),
            model_digest=self.loaded.signature.digest,
            request_id=self._call.request_id,
        )
        return stream_pb2.StreamDetectResponse(ready=ready)

    def _drained(self) -> stream_pb2.StreamDetectResponse:
        """To be made between two frames: from here on, the stream that goes on gives the identities."""
        last_track_id = 0
        if self._tracker is not None:
            self._tracker.close()
            last_track_id = self._tracker.last_track_id
        token = self._tokens.issue(
            Resumption(self._call.model, self._call.version, self._frames.last_frame_id, last_track_id)
        )
        drain = stream_pb2.Drain(resume_token=token, last_frame_id=self._frames.last_frame_id)
        return stream_pb2.StreamDetectResponse(drain=drain)

    def _resolved(self, options: RequestedOptions) -> DetectOptions:
        spec = self.loaded.spec
        return options.over(spec.options, spec.class_names)
