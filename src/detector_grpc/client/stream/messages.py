"""Between the messages of StreamDetect and the values of the SDK."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from detector_grpc._gen.detector.v1 import stream_pb2
from detector_grpc.client.errors import CallFailed
from detector_grpc.client.options import options_of
from detector_grpc.client.results import found
from detector_grpc.client.stream.values import StreamReady
from detector_grpc.errors import MessageTooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from detector_grpc.client.stream.values import DropReason, Mode, Tracking

HEARTBEAT_INTERVAL_MS = 3_000

_MODES: Mapping[Mode, stream_pb2.DeliveryMode] = {
    "latest": stream_pb2.DELIVERY_MODE_LATEST,
    "lossless": stream_pb2.DELIVERY_MODE_LOSSLESS,
}
DROP_REASONS: Mapping[int, DropReason] = {
    stream_pb2.DROP_REASON_SUPERSEDED: "superseded",
    stream_pb2.DROP_REASON_STALE: "stale",
    stream_pb2.DROP_REASON_OVERLOAD: "overload",
}


def config_message(
    model: str, version: str, mode: Mode, max_frame_age_s: float | None, tracking: Tracking | None
) -> stream_pb2.StreamConfig:
    """How to treat a stream, without options and without a token.

    Raises:
        ValueError: There is no such mode.
    """
    if mode not in _MODES:
        raise ValueError(f'the mode is "latest" or "lossless", not "{mode}"')
    config = stream_pb2.StreamConfig(
        model=model, version=version, mode=_MODES[mode], heartbeat_interval_ms=HEARTBEAT_INTERVAL_MS
    )
    if max_frame_age_s is not None:
        config.max_frame_age_ms = math.ceil(max_frame_age_s * 1e3)
    if tracking is not None:
        config.tracking.CopyFrom(
            stream_pb2.Tracking(max_lost_frames=tracking.max_lost_frames, min_confidence=tracking.min_confidence)
        )
    return config


def too_large(size_bytes: int, max_bytes: int) -> CallFailed:
    """What the server would say to a frame that is larger than it takes."""
    error = MessageTooLarge(size_bytes, max_bytes)
    return CallFailed("RESOURCE_EXHAUSTED", error.message, error.reason, error.metadata)


def ready_of(message: stream_pb2.StreamReady) -> StreamReady:
    """Reads who answers, and how."""
    return StreamReady(
        model=message.model,
        version=message.version,
        model_digest=message.model_digest,
        options=options_of(message.options),
        request_id=message.request_id,
        max_frames_in_flight=message.max_frames_in_flight,
        max_frame_bytes=message.max_frame_bytes,
        heartbeat_interval_s=message.heartbeat_interval_ms / 1e3,
    )


def outcome_of(message: stream_pb2.FrameResult, ready: StreamReady) -> dict[str, Any]:
    """Reads what became of a frame: the fields of its StreamAnswer that the server knows.

    Args:
        message: The server's answer.
        ready: Who was asked, and how.
    """
    match message.WhichOneof("outcome"):
        case "detections":
            result = found(
                message.detections,
                request_id=ready.request_id,
                model=ready.model,
                version=ready.version,
                model_digest=ready.model_digest,
                options=ready.options,
            )
            outcome: dict[str, Any] = {"result": result}
        case "dropped":
            # A reason that is newer than this SDK is one of the server's own, as overload is.
            outcome = {"dropped": DROP_REASONS.get(message.dropped.reason, "overload")}
        case _:
            outcome = {"error": CallFailed.of_status(message.error, ready.request_id)}
    return {**outcome, "age_ms": message.age_ms}
