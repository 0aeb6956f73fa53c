from google.api import httpbody_pb2 as _httpbody_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PredictRequest(_message.Message):
    __slots__ = ("body", "conf_threshold", "version", "model", "iou_threshold", "classes", "multi_label", "class_agnostic_nms", "max_detections")
    BODY_FIELD_NUMBER: _ClassVar[int]
    CONF_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IOU_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    MULTI_LABEL_FIELD_NUMBER: _ClassVar[int]
    CLASS_AGNOSTIC_NMS_FIELD_NUMBER: _ClassVar[int]
    MAX_DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    body: _httpbody_pb2.HttpBody
    conf_threshold: float
    version: str
    model: str
    iou_threshold: float
    classes: _containers.RepeatedScalarFieldContainer[str]
    multi_label: bool
    class_agnostic_nms: bool
    max_detections: int
    def __init__(self, body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ..., conf_threshold: _Optional[float] = ..., version: _Optional[str] = ..., model: _Optional[str] = ..., iou_threshold: _Optional[float] = ..., classes: _Optional[_Iterable[str]] = ..., multi_label: _Optional[bool] = ..., class_agnostic_nms: _Optional[bool] = ..., max_detections: _Optional[int] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("request_id", "version", "detections", "inference_time", "image_shape", "confidence_threshold")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_TIME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SHAPE_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    version: str
    detections: _containers.RepeatedCompositeFieldContainer[PredictDetection]
    inference_time: float
    image_shape: _containers.RepeatedScalarFieldContainer[int]
    confidence_threshold: float
    def __init__(self, request_id: _Optional[str] = ..., version: _Optional[str] = ..., detections: _Optional[_Iterable[_Union[PredictDetection, _Mapping]]] = ..., inference_time: _Optional[float] = ..., image_shape: _Optional[_Iterable[int]] = ..., confidence_threshold: _Optional[float] = ...) -> None: ...

class PredictDetection(_message.Message):
    __slots__ = ("class_id", "class_name", "confidence", "bbox")
    CLASS_ID_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    BBOX_FIELD_NUMBER: _ClassVar[int]
    class_id: int
    class_name: str
    confidence: float
    bbox: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, class_id: _Optional[int] = ..., class_name: _Optional[str] = ..., confidence: _Optional[float] = ..., bbox: _Optional[_Iterable[float]] = ...) -> None: ...

class AnnotateRequest(_message.Message):
    __slots__ = ("body", "conf_threshold", "version", "model", "iou_threshold", "classes", "multi_label", "class_agnostic_nms", "max_detections")
    BODY_FIELD_NUMBER: _ClassVar[int]
    CONF_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    IOU_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    MULTI_LABEL_FIELD_NUMBER: _ClassVar[int]
    CLASS_AGNOSTIC_NMS_FIELD_NUMBER: _ClassVar[int]
    MAX_DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    body: _httpbody_pb2.HttpBody
    conf_threshold: float
    version: str
    model: str
    iou_threshold: float
    classes: _containers.RepeatedScalarFieldContainer[str]
    multi_label: bool
    class_agnostic_nms: bool
    max_detections: int
    def __init__(self, body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ..., conf_threshold: _Optional[float] = ..., version: _Optional[str] = ..., model: _Optional[str] = ..., iou_threshold: _Optional[float] = ..., classes: _Optional[_Iterable[str]] = ..., multi_label: _Optional[bool] = ..., class_agnostic_nms: _Optional[bool] = ..., max_detections: _Optional[int] = ...) -> None: ...
