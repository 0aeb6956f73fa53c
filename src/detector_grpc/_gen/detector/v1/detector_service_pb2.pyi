from detector_grpc._gen.detector.v1 import detection_pb2 as _detection_pb2
from detector_grpc._gen.detector.v1 import image_pb2 as _image_pb2
from detector_grpc._gen.detector.v1 import predict_pb2 as _predict_pb2
from detector_grpc._gen.detector.v1 import stream_pb2 as _stream_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import httpbody_pb2 as _httpbody_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DetectRequest(_message.Message):
    __slots__ = ("image", "source_size", "model", "version", "options")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_SIZE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    source_size: _image_pb2.ImageSize
    model: str
    version: str
    options: _detection_pb2.DetectOptions
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., source_size: _Optional[_Union[_image_pb2.ImageSize, _Mapping]] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., options: _Optional[_Union[_detection_pb2.DetectOptions, _Mapping]] = ...) -> None: ...

class DetectResponse(_message.Message):
    __slots__ = ("request_id", "model", "version", "detections", "image_size", "options", "timing", "model_digest", "uncertainty", "uncertainty_driver")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_DRIVER_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    version: str
    detections: _containers.RepeatedCompositeFieldContainer[_detection_pb2.Detection]
    image_size: _image_pb2.ImageSize
    options: _detection_pb2.DetectOptions
    timing: _detection_pb2.Timing
    model_digest: str
    uncertainty: float
    uncertainty_driver: str
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., detections: _Optional[_Iterable[_Union[_detection_pb2.Detection, _Mapping]]] = ..., image_size: _Optional[_Union[_image_pb2.ImageSize, _Mapping]] = ..., options: _Optional[_Union[_detection_pb2.DetectOptions, _Mapping]] = ..., timing: _Optional[_Union[_detection_pb2.Timing, _Mapping]] = ..., model_digest: _Optional[str] = ..., uncertainty: _Optional[float] = ..., uncertainty_driver: _Optional[str] = ...) -> None: ...
