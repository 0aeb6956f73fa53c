from google.api import httpbody_pb2 as _httpbody_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DriftState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DRIFT_STATE_UNSPECIFIED: _ClassVar[DriftState]
    DRIFT_STATE_LEARNING: _ClassVar[DriftState]
    DRIFT_STATE_STABLE: _ClassVar[DriftState]
    DRIFT_STATE_WARNING: _ClassVar[DriftState]
    DRIFT_STATE_DRIFTED: _ClassVar[DriftState]
DRIFT_STATE_UNSPECIFIED: DriftState
DRIFT_STATE_LEARNING: DriftState
DRIFT_STATE_STABLE: DriftState
DRIFT_STATE_WARNING: DriftState
DRIFT_STATE_DRIFTED: DriftState

class GetDriftStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetDriftStatusResponse(_message.Message):
    __slots__ = ("statuses",)
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    statuses: _containers.RepeatedCompositeFieldContainer[DriftStatus]
    def __init__(self, statuses: _Optional[_Iterable[_Union[DriftStatus, _Mapping]]] = ...) -> None: ...

class DriftStatus(_message.Message):
    __slots__ = ("model", "version", "state", "observations")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OBSERVATIONS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    state: DriftState
    observations: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., state: _Optional[_Union[DriftState, str]] = ..., observations: _Optional[int] = ...) -> None: ...

class UpdateReferenceRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class UpdateReferenceResponse(_message.Message):
    __slots__ = ("observations",)
    OBSERVATIONS_FIELD_NUMBER: _ClassVar[int]
    observations: int
    def __init__(self, observations: _Optional[int] = ...) -> None: ...

class GetDriftReportRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...
