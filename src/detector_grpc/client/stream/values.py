"""What goes into a stream, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from detector_grpc.client.errors import CallFailed
    from detector_grpc.client.options import DetectOptions
    from detector_grpc.client.pictures import Picture
    from detector_grpc.client.results import DetectionResult

Mode = Literal["latest", "lossless"]
DropReason = Literal["superseded", "stale", "overload"]

# Longest that closing a stream waits for a source that is being read. Whoever releases a camera while it is being read
# may crash, so it should have ended; a source that never ends should not keep its reader for ever.
SOURCE_PATIENCE_S = 5.0

FrameT = TypeVar("FrameT", bound="Picture | StreamFrame")


@dataclass(frozen=True, eq=False)
class StreamFrame:
    """A picture and what belongs to it. Must not be changed before it is answered.

    Attributes:
        picture: Path of a JPEG or PNG file, such a file's bytes, or pixels: uint8 (H, W, 3), or (H, W) for grey.
        capture_time: When it was taken, in seconds since whatever the caller counts from, e.g. `time.time()`. Sent
            along, never interpreted.
        source: Anything that should be at hand when the answer comes. Not sent.
    """

    picture: Picture
    capture_time: float | None = None
    source: object = field(default=None, repr=False)


@dataclass(frozen=True)
class Tracking:
    """How objects keep their identity from frame to frame; None is the server's default.

    Attributes:
        max_lost_frames: Frames that an object may be out of sight. Range [1, 10000].
        min_confidence: Lowest confidence at which an unknown object gets an identity. Range [0, 1].
    """

    max_lost_frames: int | None = None
    min_confidence: float | None = None


@dataclass(frozen=True)
class StreamReady:
    """Who answers, and how.

    Attributes:
        model: Name of the model.
        version: Version of the model; the same for the whole stream, whichever server goes on with it.
        model_digest: "sha256:" and 64 hexadecimal digits of the model file.
        options: The options that are used from the next frame on.
        request_id: The id under which the server logs this part of the stream.
        max_frames_in_flight: Frames that may be unanswered at once.
        max_frame_bytes: Largest message with a frame.
        heartbeat_interval_s: Longest silence of a server that is alive.
    """

    model: str
    version: str
    model_digest: str
    options: DetectOptions
    request_id: str
    max_frames_in_flight: int
    max_frame_bytes: int
    heartbeat_interval_s: float


@dataclass(frozen=True, eq=False)
class StreamAnswer(Generic[FrameT]):
    """The answer to one frame: exactly one of `result`, `dropped` and `error` is not None.

    Attributes:
        frame: The very object that the caller gave.
        frame_id: Its number in the stream, from 1; the server logs and observes it under this id.
        capture_time: That of its StreamFrame.
        result: What was found in it.
        dropped: Why it was not looked at: "superseded" by a newer one, "stale", or "overload" of the server.
        error: Why it could not be looked at. Where it could not even be sent, `__cause__` is what Python raised.
        age_ms: Time from its arrival at the server to its answer, in milliseconds; None if it was not answered there.
        total_ms: Time from its reading to its answer, as seen from here, in milliseconds.
    """

    frame: FrameT
    frame_id: int
    capture_time: float | None
    result: DetectionResult | None = None
    dropped: DropReason | None = None
    error: CallFailed | None = None
    age_ms: float | None = None
    total_ms: float = 0.0
