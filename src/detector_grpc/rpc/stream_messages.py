"""Between the messages of StreamDetect and our own values. All faults of a message are found before any is raised."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from google.protobuf.message import DecodeError

from detector_grpc._gen.detector.v1 import image_pb2, stream_pb2
from detector_grpc.errors import InvalidRequest, Violation
from detector_grpc.rpc import convert
from detector_grpc.serving.frames import Delivery, DropReason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp
    from google.rpc.status_pb2 import Status

    from detector_grpc.serving.options import RequestedOptions
    from detector_grpc.serving.pipeline import Image, Result

    Request: TypeAlias = stream_pb2.StreamDetectRequest
    FrameOutcome: TypeAlias = stream_pb2.FrameDetections | DropReason | Status

MAX_FRAME_AGE_MS = 60_000
HEARTBEAT_MS = (100, 60_000)
DEFAULT_HEARTBEAT_MS = 10_000
MAX_FRAME_ID = 2**63 - 1
MAX_LOST_FRAMES = 10_000
DEFAULT_LOST_FRAMES = 30

_DELIVERIES = {
    stream_pb2.DELIVERY_MODE_UNSPECIFIED: Delivery.LATEST,
    stream_pb2.DELIVERY_MODE_LATEST: Delivery.LATEST,
    stream_pb2.DELIVERY_MODE_LOSSLESS: Delivery.LOSSLESS,
}
_DROP_REASONS = {
    DropReason.SUPERSEDED: stream_pb2.DROP_REASON_SUPERSEDED,
    DropReason.STALE: stream_pb2.DROP_REASON_STALE,
    DropReason.OVERLOAD: stream_pb2.DROP_REASON_OVERLOAD,
}


_VARINT = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
# How a frame with a picture begins, if its fields are in the order of their numbers, as all generated code writes them.
# To parse 16 MiB takes milliseconds, in which the whole process does nothing else.
_START_OF_FRAME = re.compile(
    rb"\x12%(v)s(?P<before_image>\x08%(v)s(?:\x12[\x00-\x7f](?:\x08%(v)s)?(?:\x10%(v)s)?)?)\x1a" % {b"v": _VARINT},
    re.DOTALL,
)


class TrackingConfig(NamedTuple):
    """How objects are followed; fields as in the contract."""

    max_lost_frames: int
    min_confidence: float


class StreamConfig(NamedTuple):
    """A checked StreamConfig message."""

    model: str
    version: str
    options: RequestedOptions
    delivery: Delivery
    max_age_s: float | None
    heartbeat_s: float
    resume_token: str
    tracking: TrackingConfig | None


class FrameMessage(NamedTuple):
    """A checked Frame message."""

    image: Image
    source_wh: tuple[int, int] | None


async def parse(received: AsyncIterator[bytes], max_frame_bytes: int) -> AsyncIterator[tuple[Request, int]]:
    """The messages of a stream with their sizes in bytes; of a larger frame only what its answer says of it.

    Raises:
        InvalidRequest: Bytes are no message.
    """
    async for data in received:
        yield _request(data, max_frame_bytes), len(data)


def parse_config(message: stream_pb2.StreamDetectRequest) -> StreamConfig:
    """Checks everything of the first message that can be checked without the model.

    Raises:
        InvalidRequest: It is no config, or fields are out of range; all of them are named.
    """
    if message.WhichOneof("message") != "config":
        raise InvalidRequest([Violation("config", "must be the first message of a stream")])
    config, violations = message.config, list[Violation]()
    delivery = _DELIVERIES.get(config.mode)
    if delivery is None:
        violations.append(Violation("config.mode", f"must be LATEST or LOSSLESS, got {config.mode}"))
    if config.HasField("max_frame_age_ms") and not 1 <= config.max_frame_age_ms <= MAX_FRAME_AGE_MS:
        violations.append(
            Violation("config.max_frame_age_ms", f"must be in [1, {MAX_FRAME_AGE_MS}], got {config.max_frame_age_ms}")
        )
    least, most = HEARTBEAT_MS
    heartbeat_ms = config.heartbeat_interval_ms if config.HasField("heartbeat_interval_ms") else DEFAULT_HEARTBEAT_MS
    if not least <= heartbeat_ms <= most:
        violations.append(
            Violation("config.heartbeat_interval_ms", f"must be in [{least}, {most}], got {heartbeat_ms}")
        )
    tracking = _tracking(config.tracking, violations) if config.HasField("tracking") else None
    options = convert.requested_options(config.options, violations)
    if violations or delivery is None:
        raise InvalidRequest(violations)
    return StreamConfig(
        model=config.model,
        version=config.version,
        options=options,
        delivery=delivery,
        max_age_s=config.max_frame_age_ms / 1e3 if config.HasField("max_frame_age_ms") else None,
        heartbeat_s=heartbeat_ms / 1e3,
        resume_token=config.resume_token,
        tracking=tracking,
    )


def parse_frame(frame: stream_pb2.Frame, last_frame_id: int) -> FrameMessage:
    """Checks everything of a frame that can be checked without the pixels.

    Args:
        frame: The message.
        last_frame_id: Id of the frame before it; 0 if there was none.

    Raises:
        InvalidRequest: Fields are missing or out of range; all of them are named.
    """
    violations = list[Violation]()
    if not last_frame_id < frame.frame_id <= MAX_FRAME_ID:
        violations.append(
            Violation("frame_id", f"must be in [{last_frame_id + 1}, {MAX_FRAME_ID}], got {frame.frame_id}")
        )
    image, source_wh = convert.picture(frame, violations)
    if violations or image is None:
        raise InvalidRequest(violations)
    return FrameMessage(image, source_wh)


def parse_update(update: stream_pb2.StreamUpdate) -> RequestedOptions:
    """Checks the options of an update.

    Raises:
        InvalidRequest: Fields are out of range; all of them are named.
    """
    violations = list[Violation]()
    options = convert.requested_options(update.options, violations)
    if violations:
        raise InvalidRequest(violations)
    return options


def detected(result: Result, class_names: Sequence[str]) -> stream_pb2.FrameDetections:
    """What was found in a frame."""
    width, height = result.image_wh
    return stream_pb2.FrameDetections(
        detections=convert.detections(result, class_names),
        image_size=image_pb2.ImageSize(width=width, height=height),
        timing=convert.timing_message(result.timing),
        uncertainty=result.uncertainty.score,
        uncertainty_driver=result.uncertainty.driver,
    )


def frame_result(
    frame_id: int,
    capture_time: Timestamp | None,
    age_s: float,
    outcome: FrameOutcome,
) -> stream_pb2.StreamDetectResponse:
    """The answer to a frame."""
    result = stream_pb2.FrameResult(frame_id=frame_id, capture_time=capture_time, age_ms=age_s * 1e3)
    match outcome:
        case stream_pb2.FrameDetections():
            result.detections.CopyFrom(outcome)
        case DropReason():
            result.dropped.reason = _DROP_REASONS[outcome]
        case status:
            result.error.CopyFrom(status)
    return stream_pb2.StreamDetectResponse(result=result)


def _request(data: bytes, max_frame_bytes: int) -> Request:
    try:
        if len(data) > max_frame_bytes and (start := _START_OF_FRAME.match(data)):
            return stream_pb2.StreamDetectRequest(frame=stream_pb2.Frame.FromString(start["before_image"]))
        return stream_pb2.StreamDetectRequest.FromString(data)
    except DecodeError:
        raise InvalidRequest.of_no_message(len(data)) from None


def _tracking(tracking: stream_pb2.Tracking, violations: list[Violation]) -> TrackingConfig:
    lost = tracking.max_lost_frames if tracking.HasField("max_lost_frames") else DEFAULT_LOST_FRAMES
    if not 1 <= lost <= MAX_LOST_FRAMES:
        violations.append(
            Violation("config.tracking.max_lost_frames", f"must be in [1, {MAX_LOST_FRAMES}], got {lost}")
        )
    confidence = tracking.min_confidence  # unset it is 0: whatever the stream's thresholds let through
    if not 0 <= confidence <= 1:  # false for NaN, too
        violations.append(Violation("config.tracking.min_confidence", f"must be in [0, 1], got {confidence:g}"))
    return TrackingConfig(lost, confidence)
