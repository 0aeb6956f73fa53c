import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import httpbody_pb2 as _httpbody_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
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
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class GetDriftStatusResponse(_message.Message):
    __slots__ = ("statuses",)
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    statuses: _containers.RepeatedCompositeFieldContainer[DriftStatus]
    def __init__(self, statuses: _Optional[_Iterable[_Union[DriftStatus, _Mapping]]] = ...) -> None: ...

class DriftStatus(_message.Message):
    __slots__ = ("model", "version", "model_digest", "state", "since", "observations", "observations_needed", "drifted_share", "reference", "features", "groups", "groups_watched", "observations_lost", "report_made", "report_fault", "stored", "latest")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    OBSERVATIONS_FIELD_NUMBER: _ClassVar[int]
    OBSERVATIONS_NEEDED_FIELD_NUMBER: _ClassVar[int]
    DRIFTED_SHARE_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_WATCHED_FIELD_NUMBER: _ClassVar[int]
    OBSERVATIONS_LOST_FIELD_NUMBER: _ClassVar[int]
    REPORT_MADE_FIELD_NUMBER: _ClassVar[int]
    REPORT_FAULT_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    model_digest: str
    state: DriftState
    since: _timestamp_pb2.Timestamp
    observations: int
    observations_needed: int
    drifted_share: float
    reference: DriftReference
    features: _containers.RepeatedCompositeFieldContainer[DriftFeature]
    groups: _containers.RepeatedCompositeFieldContainer[DriftGroup]
    groups_watched: int
    observations_lost: int
    report_made: _timestamp_pb2.Timestamp
    report_fault: str
    stored: bool
    latest: _timestamp_pb2.Timestamp
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., model_digest: _Optional[str] = ..., state: _Optional[_Union[DriftState, str]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., observations: _Optional[int] = ..., observations_needed: _Optional[int] = ..., drifted_share: _Optional[float] = ..., reference: _Optional[_Union[DriftReference, _Mapping]] = ..., features: _Optional[_Iterable[_Union[DriftFeature, _Mapping]]] = ..., groups: _Optional[_Iterable[_Union[DriftGroup, _Mapping]]] = ..., groups_watched: _Optional[int] = ..., observations_lost: _Optional[int] = ..., report_made: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., report_fault: _Optional[str] = ..., stored: _Optional[bool] = ..., latest: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DriftReference(_message.Message):
    __slots__ = ("source", "made", "observations", "daily", "knows_hour")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MADE_FIELD_NUMBER: _ClassVar[int]
    OBSERVATIONS_FIELD_NUMBER: _ClassVar[int]
    DAILY_FIELD_NUMBER: _ClassVar[int]
    KNOWS_HOUR_FIELD_NUMBER: _ClassVar[int]
    source: str
    made: _timestamp_pb2.Timestamp
    observations: int
    daily: bool
    knows_hour: bool
    def __init__(self, source: _Optional[str] = ..., made: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., observations: _Optional[int] = ..., daily: _Optional[bool] = ..., knows_hour: _Optional[bool] = ...) -> None: ...

class DriftFeature(_message.Message):
    __slots__ = ("name", "drifted", "words", "distance", "allowed", "ratio", "evidence", "reference_quantiles", "current_quantiles", "psi", "wasserstein", "ks", "p_value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DRIFTED_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    RATIO_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_QUANTILES_FIELD_NUMBER: _ClassVar[int]
    CURRENT_QUANTILES_FIELD_NUMBER: _ClassVar[int]
    PSI_FIELD_NUMBER: _ClassVar[int]
    WASSERSTEIN_FIELD_NUMBER: _ClassVar[int]
    KS_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    drifted: bool
    words: str
    distance: float
    allowed: float
    ratio: float
    evidence: float
    reference_quantiles: _containers.RepeatedScalarFieldContainer[float]
    current_quantiles: _containers.RepeatedScalarFieldContainer[float]
    psi: float
    wasserstein: float
    ks: float
    p_value: float
    def __init__(self, name: _Optional[str] = ..., drifted: _Optional[bool] = ..., words: _Optional[str] = ..., distance: _Optional[float] = ..., allowed: _Optional[float] = ..., ratio: _Optional[float] = ..., evidence: _Optional[float] = ..., reference_quantiles: _Optional[_Iterable[float]] = ..., current_quantiles: _Optional[_Iterable[float]] = ..., psi: _Optional[float] = ..., wasserstein: _Optional[float] = ..., ks: _Optional[float] = ..., p_value: _Optional[float] = ...) -> None: ...

class DriftGroup(_message.Message):
    __slots__ = ("stream_id", "state", "since", "features")
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    state: DriftState
    since: _timestamp_pb2.Timestamp
    features: _containers.RepeatedCompositeFieldContainer[DriftFeature]
    def __init__(self, stream_id: _Optional[str] = ..., state: _Optional[_Union[DriftState, str]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., features: _Optional[_Iterable[_Union[DriftFeature, _Mapping]]] = ...) -> None: ...

class GetDriftReportRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class UpdateReferenceRequest(_message.Message):
    __slots__ = ("model", "version", "recent", "file", "number", "learn")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RECENT_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    LEARN_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    recent: bool
    file: str
    number: int
    learn: bool
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., recent: _Optional[bool] = ..., file: _Optional[str] = ..., number: _Optional[int] = ..., learn: _Optional[bool] = ...) -> None: ...

class UpdateReferenceResponse(_message.Message):
    __slots__ = ("reference", "previous")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    reference: DriftReference
    previous: DriftReference
    def __init__(self, reference: _Optional[_Union[DriftReference, _Mapping]] = ..., previous: _Optional[_Union[DriftReference, _Mapping]] = ...) -> None: ...

class ListReferencesRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class ListReferencesResponse(_message.Message):
    __slots__ = ("references",)
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    references: _containers.RepeatedCompositeFieldContainer[PastReference]
    def __init__(self, references: _Optional[_Iterable[_Union[PastReference, _Mapping]]] = ...) -> None: ...

class PastReference(_message.Message):
    __slots__ = ("number", "reference")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    number: int
    reference: DriftReference
    def __init__(self, number: _Optional[int] = ..., reference: _Optional[_Union[DriftReference, _Mapping]] = ...) -> None: ...

class ObserveRequest(_message.Message):
    __slots__ = ("schema", "model", "version", "model_digest", "observations", "lost")
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    OBSERVATIONS_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    schema: int
    model: str
    version: str
    model_digest: str
    observations: _containers.RepeatedCompositeFieldContainer[DriftObservation]
    lost: int
    def __init__(self, schema: _Optional[int] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., model_digest: _Optional[str] = ..., observations: _Optional[_Iterable[_Union[DriftObservation, _Mapping]]] = ..., lost: _Optional[int] = ...) -> None: ...

class DriftObservation(_message.Message):
    __slots__ = ("values", "classes", "stream_id")
    class ClassesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    VALUES_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    classes: _containers.ScalarMap[str, int]
    stream_id: str
    def __init__(self, values: _Optional[_Iterable[float]] = ..., classes: _Optional[_Mapping[str, int]] = ..., stream_id: _Optional[str] = ...) -> None: ...

class ObserveResponse(_message.Message):
    __slots__ = ("taken",)
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    taken: int
    def __init__(self, taken: _Optional[int] = ...) -> None: ...
