"""One stream of StreamDetect, from its config to its last answer.

Three things go on beside each other, and all of them belong to the event loop: messages are read as long as there is
room for frames; workers take frames from the book whenever they are free; answers are written in the order of the
frames. What may be dropped, and that nothing is answered twice or not at all, is the business of the FrameBook.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import grpc

from detector_grpc._gen.detector.v1 import stream_pb2
from detector_grpc.errors import AnswersNotRead, DetectorError, InvalidRequest, MessageTooLarge, Violation
from detector_grpc.rpc import convert, stream_messages
from detector_grpc.rpc.status import code_of, status_message
from detector_grpc.serving.frame_jobs import FrameJobs
from detector_grpc.serving.frames import Delivery, DropReason, Frame, FrameBook
from detector_grpc.serving.outcome import Outcome
from detector_grpc.serving.pipeline import EncodedImage, Image, Result
from detector_grpc.serving.resume import Resumption
from detector_grpc.serving.turns import Priority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp

    from detector_grpc._gen.detector.v1 import detection_pb2
    from detector_grpc.rpc.stream_messages import StreamConfig
    from detector_grpc.serving.budget import ByteBudget
    from detector_grpc.serving.options import DetectOptions, RequestedOptions
    from detector_grpc.serving.outcome import Call
    from detector_grpc.serving.registry import LoadedModel
    from detector_grpc.serving.resume import ResumeTokens
    from detector_grpc.serving.scheduler import Scheduler
    from detector_grpc.serving.tracking import Tracker
    from detector_grpc.vision.detections import Detections

    Messages = AsyncIterator[tuple[stream_pb2.StreamDetectRequest, int]]  # with their sizes on the wire, in bytes
    Write = Callable[[stream_pb2.StreamDetectResponse], Awaitable[None]]

log = logging.getLogger(__name__)

# Of a stream in mode LATEST: frames that came and went while their answers wait to be written are a few bytes each.
MAX_UNANSWERED = 256


class StreamLimits(NamedTuple):
    """What one stream may take.

    Attributes:
        max_frames_in_flight: Most unanswered frames in mode LOSSLESS.
        max_frame_bytes: Largest message with a frame.
        config_timeout_s: Seconds that the first message may take.
        write_timeout_s: Seconds that the caller may leave an answer unread.
    """

    max_frames_in_flight: int
    max_frame_bytes: int
    config_timeout_s: float
    write_timeout_s: float


class _Picture(NamedTuple):
    image: Image
    source_wh: tuple[int, int] | None
    options: RequestedOptions
    size_bytes: int


@dataclass(eq=False)
class _Held:
    """What is kept of a frame; the picture only until the frame is settled."""

    frame_id: int
    capture_time: Timestamp | None
    picture: _Picture | None = None


class _Detected(NamedTuple):
    message: stream_pb2.FrameDetections
    result: Result


class DetectStream:
    """Answers one stream.

    Args:
        config: The first message.
        resumption: Where the stream that this one continues was drained; None for a new one.
        loaded: The model that answers all of it.
        call: The call.
        scheduler: The workers.
        budget: Bytes of pictures that the process may hold.
        tokens: What makes the token of a drain.
        tracker: What gives objects their identity; None for none.
        limits: What the stream may take.
        observe: Told the outcome of every frame.

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
        scheduler: Scheduler,
        budget: ByteBudget,
        tokens: ResumeTokens,
        tracker: Tracker | None,
        limits: StreamLimits,
        observe: Callable[[Outcome], None],
    ) -> None:
        self._config = config
        self.loaded = loaded
        self._call = call
        self._budget = budget
        self._tokens = tokens
        self._tracker = tracker
        self._limits = limits
        self._observe = observe
        self._options = config.options
        self._used = self._resolved(config.options)
        self._book = FrameBook[_Held](config.delivery, config.max_age_s, self._on_settled)
        self._last_frame_id = resumption.last_frame_id if resumption else 0
        priority = Priority.BATCH if config.delivery is Delivery.LOSSLESS else Priority.INTERACTIVE
        self._jobs = FrameJobs(self._book, scheduler, priority, self._begin, loaded)
        self._notes: deque[stream_pb2.StreamDetectResponse] = deque()
        self._reader: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._faults = 0
        self._last_write = 0.0
        self._no_more_frames = self._drain_due = False
        self._changed, self._room, self._ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def run(self, messages: Messages, write: Write) -> None:
        """Answers until the caller has closed its side, or the stream is drained, and every frame has its answer.

        Raises:
            InvalidRequest: A message is none that may come there; all frames before it are answered.
            AnswersNotRead: The caller does not read.
        """
        self._reader = asyncio.create_task(self._read(messages))
        try:
            await self._send(write, self._ready())
            await self._answer_all(write)
        finally:
            self._reader.cancel()
            self._book.abandon(asyncio.CancelledError())
            await self._jobs.cancel()
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
                    await self._accept(message.frame, size_bytes)
                case "update":
                    self._update(message.update)
                case "config":
                    raise InvalidRequest([Violation("config", "only the first message of a stream may be a config")])
                case _:
                    raise InvalidRequest([Violation("", "the message is neither a frame nor an update")])
            await self._wait_for_room()

    async def _accept(self, frame: stream_pb2.Frame, size_bytes: int) -> None:
        capture_time = frame.capture_time if frame.HasField("capture_time") else None
        held = _Held(frame.frame_id, capture_time)
        try:
            parsed = stream_messages.parse_frame(frame, self._last_frame_id)
            if size_bytes > self._limits.max_frame_bytes:
                raise MessageTooLarge(size_bytes, self._limits.max_frame_bytes)
        except DetectorError as error:
            self._book.accept_settled(held, time.monotonic(), error)
        else:
            arrived = time.monotonic()
            if self._config.delivery is Delivery.LOSSLESS:
                await self._budget.reserve(size_bytes)
            elif not self._reserved(size_bytes):
                self._book.accept_settled(held, arrived, DropReason.OVERLOAD)
                self._last_frame_id = frame.frame_id
                return
            held.picture = _Picture(parsed.image, parsed.source_wh, self._options, size_bytes)
            self._book.accept(held, arrived)
            self._jobs.look_at_more()
        if self._last_frame_id < frame.frame_id <= stream_messages.MAX_FRAME_ID:
            self._last_frame_id = frame.frame_id

    def _reserved(self, size_bytes: int) -> bool:
        """Takes room for a frame, that of the frame which it supersedes included."""
        if self._budget.try_reserve(size_bytes):
            return True
        self._book.supersede()
        return self._budget.try_reserve(size_bytes)

    def _update(self, update: stream_pb2.StreamUpdate) -> None:
        answer = stream_pb2.StreamUpdated()
        try:
            options = stream_messages.parse_update(update)
            used = self._resolved(options)
        except InvalidRequest as error:
            answer.error.CopyFrom(status_message(error, self._call.request_id))
        else:
            self._options, self._used = options, used
            answer.options.CopyFrom(convert.options_message(used))
        self._notes.append(stream_pb2.StreamDetectResponse(updated=answer))
        self._changed.set()

    async def _wait_for_room(self) -> None:
        lossless = self._config.delivery is Delivery.LOSSLESS
        most = self._limits.max_frames_in_flight if lossless else MAX_UNANSWERED
        while self._book.unanswered + len(self._notes) >= most:
            self._room.clear()
            await self._room.wait()

    def _begin(self, held: _Held, queue_s: float) -> Callable[[], _Detected]:
        return partial(_detect, self.loaded, cast("_Picture", held.picture), queue_s)

    def _on_settled(self, frame: Frame[_Held]) -> None:
        picture, frame.payload.picture = frame.payload.picture, None
        if picture is not None:
            self._budget.release(picture.size_bytes)
        outcome = frame.outcome
        error = outcome if isinstance(outcome, BaseException) else None
        self._observe(
            Outcome(
                call=self._call,
                status=code_of(error).name.lower(),
                duration_s=time.monotonic() - frame.arrived,
                encoded=picture.image.data if picture and isinstance(picture.image, EncodedImage) else None,
                result=outcome.result if isinstance(outcome, _Detected) else None,
                model_digest=self.loaded.signature.digest,
                error=error,
                frame_id=frame.payload.frame_id,
                dropped=outcome if isinstance(outcome, DropReason) else None,
            )
        )
        if error is not None:
            self._log(error, frame.payload.frame_id)
            # Until it is answered an error must not hold what its traceback does, such as the picture.
            error.__traceback__ = error.__cause__ = error.__context__ = None
        self._changed.set()

    def _log(self, error: BaseException, frame_id: int) -> None:
        """Writes what is our fault into the log, of a camera that fails for every frame ever more seldom."""
        if code_of(error) is not grpc.StatusCode.INTERNAL:
            return
        self._faults += 1
        if self._faults & (self._faults - 1) == 0:  # the first, the second, the fourth …
            fields = {"request_id": self._call.request_id, "frame_id": frame_id, "faults": self._faults}
            log.error("frame failed", exc_info=error, extra=fields)

    async def _answer_all(self, write: Write) -> None:
        while True:
            self._changed.clear()
            if self._drain_due:
                self._drain_due = False
                self._notes.append(self._drained())
            while self._notes:
                await self._send(write, self._notes.popleft())
                self._room.set()
            for frame in self._book.answers():
                await self._send(write, await self._answer(frame))
                self._room.set()
            if self._changed.is_set():
                continue
            if self._no_more_frames and not self._book.unanswered:
                return
            try:
                async with asyncio.timeout_at(self._last_write + self._config.heartbeat_s):
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

    async def _answer(self, frame: Frame[_Held]) -> stream_pb2.StreamDetectResponse:
        match frame.outcome:
            case _Detected(message, result):
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

    def _ready(self) -> stream_pb2.StreamDetectResponse:
        ready = stream_pb2.StreamReady(
            model=self._call.model,
            version=self._call.version,
            options=convert.options_message(self._used),
            max_frames_in_flight=self._limits.max_frames_in_flight,
            max_frame_bytes=self._limits.max_frame_bytes,
            heartbeat_interval_ms=round(self._config.heartbeat_s * 1e3),
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
        token = self._tokens.issue(Resumption(self._call.model, self._call.version, self._last_frame_id, last_track_id))
        drain = stream_pb2.Drain(resume_token=token, last_frame_id=self._last_frame_id)
        return stream_pb2.StreamDetectResponse(drain=drain)

    def _resolved(self, options: RequestedOptions) -> DetectOptions:
        spec = self.loaded.spec
        return options.over(spec.options, spec.class_names)


def _detect(loaded: LoadedModel, picture: _Picture, queue_s: float) -> _Detected:
    """All the work of one frame, on a worker thread."""
    result = loaded.pipeline.detect(picture.image, picture.options, picture.source_wh, queue_s)
    return _Detected(stream_messages.detected(result, loaded.spec.class_names), result)
