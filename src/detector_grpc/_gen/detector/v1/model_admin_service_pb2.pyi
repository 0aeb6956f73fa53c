from detector_grpc._gen.detector.v1 import model_service_pb2 as _model_service_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LoadModelVersionRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class LoadModelVersionResponse(_message.Message):
    __slots__ = ("version", "is_default")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    version: _model_service_pb2.ModelVersion
    is_default: bool
    def __init__(self, version: _Optional[_Union[_model_service_pb2.ModelVersion, _Mapping]] = ..., is_default: _Optional[bool] = ...) -> None: ...

class UnloadModelVersionRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class UnloadModelVersionResponse(_message.Message):
    __slots__ = ("was_default",)
    WAS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    was_default: bool
    def __init__(self, was_default: _Optional[bool] = ...) -> None: ...
