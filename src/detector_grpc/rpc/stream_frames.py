"""The frames of one stream: how they come into its book and through the workers, and what observers are told."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import grpc

from detector_grpc.errors import DetectorError, MessageTooLarge, let_go
from detector_grpc.rpc import stream_messages
from detector_grpc.rpc.status import code_of
from detector_grpc.serving.frame_jobs import FrameJobs
from detector_grpc.serving.frames import Delivery, DropReason, Frame, FrameBook
from detector_grpc.serving.outcome import Outcome
from detector_grpc.serving.pipeline import PictureRequest, Result
from detector_grpc.serving.scheduler import Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.timestamp_pb2 import Timestamp

    from detector_grpc._gen.detector.v1 import stream_pb2
    from detector_grpc.rpc.stream_messages import StreamConfig
    from detector_grpc.serving.budget import Shares
    from detector_grpc.serving.outcome import Call
    from detector_grpc.serving.registry import LoadedModel
    from detector_grpc.serving.scheduler import Scheduler

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
        max_age_s: Seconds after which the caller is told to go on in another stream, a tenth more or less; 0: never.
    """

    max_frames_in_flight: int
    max_frame_bytes: int
    config_timeout_s: float
    write_timeout_s: float
    max_age_s: float = 0.0


class Served(NamedTuple):
    """What all streams of a process share.

    Attributes:
        scheduler: The workers.
        shares: Bytes of pictures that may be held.
        limits: What each stream may take.
        observe: Told the outcome of every frame.
        wants_sample: Whether the result of a call's next picture is to have a sample of it, for who observes.
    """

    scheduler: Scheduler
    shares: Shares
    limits: StreamLimits
    observe: Callable[[Outcome], None]
    wants_sample: Callable[[Call], bool] = lambda _: False


class _Picture(NamedTuple):
    request: PictureRequest
    size_bytes: int


@dataclass(eq=False)
class Held:
    """What is kept of a frame; the picture only until the frame is settled."""

    frame_id: int
    capture_time: Timestamp | None
    picture: _Picture | None = None


class Detected(NamedTuple):
    """What became of a frame that was looked at."""

    message: stream_pb2.FrameDetections
    result: Result


class StreamFrames:
    """Keeps a stream's frames.

    Args:
        config: How the stream wants them delivered.
        last_frame_id: Id of the frame before the first one.
        loaded: The model that looks at them.
        call: The call.
        served: What it shares with other streams.
        on_settled: Called whenever one is settled.

    Attributes:
        options: How the next frames are looked at.
        last_frame_id: Id of the last frame that was taken.
    """

    def __init__(
        self,
        config: StreamConfig,
        last_frame_id: int,
        loaded: LoadedModel,
        call: Call,
        served: Served,
        on_settled: Callable[[], None],
    ) -> None:
        self.options = config.options
        self.last_frame_id = last_frame_id
        self._delivery = config.delivery
        self._loaded = loaded
        self._call = call
        self._served = served
        self._on_settled = on_settled
        lossless = config.delivery is Delivery.LOSSLESS
        self._most = served.limits.max_frames_in_flight if lossless else MAX_UNANSWERED
        self._room = served.shares.recordings if lossless else served.shares.live
        self._book = FrameBook[Held](config.delivery, config.max_age_s, self._settled)
        self._jobs = FrameJobs(
            self._book,
            served.scheduler,
            (call.caller, "streams", self),
            Priority.BATCH if lossless else Priority.INTERACTIVE,
            self._begin,
            loaded,
        )
        self._faults = 0

    @property
    def unanswered(self) -> int:
        """Number of frames that were taken and not answered yet."""
        return self._book.unanswered

    def has_room(self, notes: int) -> bool:
        """Whether another frame may be read while so many other messages wait to be written."""
        return self._book.unanswered + notes < self._most

    def answers(self) -> Iterator[Frame[Held]]:
        """Takes out the frames whose answers are next."""
        return self._book.answers()

    async def take(self, frame: stream_pb2.Frame, size_bytes: int) -> None:
        """Enters a frame of a message of so many bytes; what is wrong with it becomes its answer."""
        held = Held(frame.frame_id, frame.capture_time if frame.HasField("capture_time") else None)
        try:
            if size_bytes > self._served.limits.max_frame_bytes:
                raise MessageTooLarge(size_bytes, self._served.limits.max_frame_bytes)
            parsed = stream_messages.parse_frame(frame, self.last_frame_id)
        except DetectorError as error:
            self._book.accept_settled(held, time.monotonic(), error)
        else:
            arrived = time.monotonic()
            if await self._reserve(size_bytes):
                held.picture = _Picture(PictureRequest(parsed.image, parsed.source_wh, self.options), size_bytes)
                self._book.accept(held, arrived)
                self._jobs.look_at_more()
            else:
                self._book.accept_settled(held, arrived, DropReason.OVERLOAD)
        if self.last_frame_id < frame.frame_id <= stream_messages.MAX_FRAME_ID:
            self.last_frame_id = frame.frame_id

    async def abandon(self, error: BaseException) -> None:
        """Settles whatever is not settled yet, and gives up what waits for a worker; what runs is not waited for."""
        self._book.abandon(error)
        await self._jobs.cancel()

    async def _reserve(self, size_bytes: int) -> bool:
        """Takes room for a frame; one that may be dropped waits for none, but gets that of the frame it supersedes.

        Where even that is too little it is the one that is dropped, or both would be.
        """
        if self._delivery is Delivery.LOSSLESS:
            await self._room.reserve(size_bytes)
            return True
        superseded = self._book.superseded_next
        if superseded is None:
            return self._room.try_reserve(size_bytes)
        picture = cast("_Picture", superseded.payload.picture)
        more_bytes = size_bytes - picture.size_bytes
        if more_bytes > 0 and not self._room.try_reserve(more_bytes):
            return False
        superseded.payload.picture = picture._replace(size_bytes=max(0, -more_bytes))  # what it still gives back
        return True

    def _begin(self, held: Held, queue_s: float) -> Callable[[], Detected]:
        sampled = self._served.wants_sample(self._call)
        return partial(_detect, self._loaded, cast("_Picture", held.picture).request, queue_s, sampled=sampled)

    def _settled(self, frame: Frame[Held]) -> None:
        picture, frame.payload.picture = frame.payload.picture, None
        if picture is not None:
            self._room.release(picture.size_bytes)
        outcome = frame.outcome
        error = outcome if isinstance(outcome, BaseException) else None
        self._served.observe(
            Outcome(
                call=self._call,
                status=code_of(error).name.lower(),
                duration_s=time.monotonic() - frame.arrived,
                request=picture.request if picture else None,
                result=outcome.result if isinstance(outcome, Detected) else None,
                model_digest=self._loaded.signature.digest,
                class_names=self._loaded.spec.class_names,
                error=error,
                frame_id=frame.payload.frame_id,
                dropped=outcome if isinstance(outcome, DropReason) else None,
            )
        )
        if error is not None:
            self._log(error, frame.payload.frame_id)
            let_go(error)
        self._on_settled()

    def _log(self, error: BaseException, frame_id: int) -> None:
        """Writes what is our fault into the log, of a camera that fails for every frame ever more seldom."""
        if code_of(error) is not grpc.StatusCode.INTERNAL:
            return
        self._faults += 1
        if self._faults & (self._faults - 1) == 0:  # the first, the second, the fourth …
            fields = {"request_id": self._call.request_id, "frame_id": frame_id, "faults": self._faults}
            log.error("frame failed", exc_info=error, extra=fields)


def _detect(loaded: LoadedModel, request: PictureRequest, queue_s: float, *, sampled: bool) -> Detected:
    """All the work of one frame, on a worker thread."""
    result = loaded.pipeline.detect(request.image, request.options, request.source_wh, queue_s, sampled=sampled)
    return Detected(stream_messages.detected(result, loaded.spec.class_names), result)
