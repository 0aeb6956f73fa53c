import datetime

from detector_grpc._gen.detector.v1 import detection_pb2 as _detection_pb2
from detector_grpc._gen.detector.v1 import image_pb2 as _image_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeliveryMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELIVERY_MODE_UNSPECIFIED: _ClassVar[DeliveryMode]
    DELIVERY_MODE_LATEST: _ClassVar[DeliveryMode]
    DELIVERY_MODE_LOSSLESS: _ClassVar[DeliveryMode]

class DropReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DROP_REASON_UNSPECIFIED: _ClassVar[DropReason]
    DROP_REASON_SUPERSEDED: _ClassVar[DropReason]
    DROP_REASON_STALE: _ClassVar[DropReason]
    DROP_REASON_OVERLOAD: _ClassVar[DropReason]
DELIVERY_MODE_UNSPECIFIED: DeliveryMode
DELIVERY_MODE_LATEST: DeliveryMode
DELIVERY_MODE_LOSSLESS: DeliveryMode
DROP_REASON_UNSPECIFIED: DropReason
DROP_REASON_SUPERSEDED: DropReason
DROP_REASON_STALE: DropReason
DROP_REASON_OVERLOAD: DropReason

class StreamDetectRequest(_message.Message):
    __slots__ = ("config", "frame", "update")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    config: StreamConfig
    frame: Frame
    update: StreamUpdate
    def __init__(self, config: _Optional[_Union[StreamConfig, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ..., update: _Optional[_Union[StreamUpdate, _Mapping]] = ...) -> None: ...

class StreamConfig(_message.Message):
    __slots__ = ("model", "version", "options", "mode", "max_frame_age_ms", "resume_token", "heartbeat_interval_ms", "tracking")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    TRACKING_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    options: _detection_pb2.DetectOptions
    mode: DeliveryMode
    max_frame_age_ms: int
    resume_token: str
    heartbeat_interval_ms: int
    tracking: Tracking
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., options: _Optional[_Union[_detection_pb2.DetectOptions, _Mapping]] = ..., mode: _Optional[_Union[DeliveryMode, str]] = ..., max_frame_age_ms: _Optional[int] = ..., resume_token: _Optional[str] = ..., heartbeat_interval_ms: _Optional[int] = ..., tracking: _Optional[_Union[Tracking, _Mapping]] = ...) -> None: ...

class Tracking(_message.Message):
    __slots__ = ("max_lost_frames", "min_confidence")
    MAX_LOST_FRAMES_FIELD_NUMBER: _ClassVar[int]
    MIN_CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    max_lost_frames: int
    min_confidence: float
    def __init__(self, max_lost_frames: _Optional[int] = ..., min_confidence: _Optional[float] = ...) -> None: ...

class StreamUpdate(_message.Message):
    __slots__ = ("options",)
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    options: _detection_pb2.DetectOptions
    def __init__(self, options: _Optional[_Union[_detection_pb2.DetectOptions, _Mapping]] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("frame_id", "capture_time", "image", "source_size")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_TIME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_SIZE_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    capture_time: _timestamp_pb2.Timestamp
    image: _image_pb2.Image
    source_size: _image_pb2.ImageSize
    def __init__(self, frame_id: _Optional[int] = ..., capture_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., source_size: _Optional[_Union[_image_pb2.ImageSize, _Mapping]] = ...) -> None: ...

class StreamDetectResponse(_message.Message):
    __slots__ = ("ready", "result", "drain", "updated", "heartbeat")
    READY_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    ready: StreamReady
    result: FrameResult
    drain: Drain
    updated: StreamUpdated
    heartbeat: Heartbeat
    def __init__(self, ready: _Optional[_Union[StreamReady, _Mapping]] = ..., result: _Optional[_Union[FrameResult, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., updated: _Optional[_Union[StreamUpdated, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class StreamReady(_message.Message):
    __slots__ = ("model", "version", "options", "max_frames_in_flight", "max_frame_bytes", "heartbeat_interval_ms", "model_digest", "request_id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAMES_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    options: _detection_pb2.DetectOptions
    max_frames_in_flight: int
    max_frame_bytes: int
    heartbeat_interval_ms: int
    model_digest: str
    request_id: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., options: _Optional[_Union[_detection_pb2.DetectOptions, _Mapping]] = ..., max_frames_in_flight: _Optional[int] = ..., max_frame_bytes: _Optional[int] = ..., heartbeat_interval_ms: _Optional[int] = ..., model_digest: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class FrameResult(_message.Message):
    __slots__ = ("frame_id", "capture_time", "detections", "dropped", "error", "age_ms")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_TIME_FIELD_NUMBER: _ClassVar[int]
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    capture_time: _timestamp_pb2.Timestamp
    detections: FrameDetections
    dropped: Dropped
    error: _status_pb2.Status
    age_ms: float
    def __init__(self, frame_id: _Optional[int] = ..., capture_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., detections: _Optional[_Union[FrameDetections, _Mapping]] = ..., dropped: _Optional[_Union[Dropped, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., age_ms: _Optional[float] = ...) -> None: ...

class FrameDetections(_message.Message):
    __slots__ = ("detections", "image_size", "timing", "uncertainty", "uncertainty_driver")
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_DRIVER_FIELD_NUMBER: _ClassVar[int]
    detections: _containers.RepeatedCompositeFieldContainer[_detection_pb2.Detection]
    image_size: _image_pb2.ImageSize
    timing: _detection_pb2.Timing
    uncertainty: float
    uncertainty_driver: str
    def __init__(self, detections: _Optional[_Iterable[_Union[_detection_pb2.Detection, _Mapping]]] = ..., image_size: _Optional[_Union[_image_pb2.ImageSize, _Mapping]] = ..., timing: _Optional[_Union[_detection_pb2.Timing, _Mapping]] = ..., uncertainty: _Optional[float] = ..., uncertainty_driver: _Optional[str] = ...) -> None: ...

class Dropped(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: DropReason
    def __init__(self, reason: _Optional[_Union[DropReason, str]] = ...) -> None: ...

class StreamUpdated(_message.Message):
    __slots__ = ("options", "error")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    options: _detection_pb2.DetectOptions
    error: _status_pb2.Status
    def __init__(self, options: _Optional[_Union[_detection_pb2.DetectOptions, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("resume_token", "last_frame_id")
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LAST_FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    resume_token: str
    last_frame_id: int
    def __init__(self, resume_token: _Optional[str] = ..., last_frame_id: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
