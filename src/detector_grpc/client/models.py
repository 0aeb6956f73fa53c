"""What a server says about the models that it holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from detector_grpc._gen.detector.v1 import model_service_pb2
from detector_grpc.client.options import DetectOptions, options_of

if TYPE_CHECKING:
    from detector_grpc._gen.detector.v1.model_admin_service_pb2 import LoadModelVersionResponse
    from detector_grpc._gen.detector.v1.model_service_pb2 import GetModelResponse, ListModelsResponse

_STATE_PREFIX = "MODEL_STATE_"


@dataclass(frozen=True)
class ModelVersion:
    """One version of one model.

    Attributes:
        model: Name of the model.
        version: Version of the model, e.g. "v1".
        is_default: Whether it answers where nothing else chose a version.
        state: "LOADING", "READY" or "FAILED".
        state_message: Why it failed; empty in every other state.
        class_names: Names of the classes by class_id. Like everything below, empty until READY.
        input_wh: Size of the model's input, in pixels; None until READY.
        head: Layout of the model's output, e.g. "cxcywh".
        default_options: What is used where a request leaves an option unset.
        digest: "sha256:" and 64 hexadecimal digits of the model file.
        execution_provider: What really runs the model, e.g. "CPUExecutionProvider".
    """

    model: str
    version: str
    is_default: bool
    state: str
    state_message: str
    class_names: tuple[str, ...]
    input_wh: tuple[int, int] | None
    head: str
    default_options: DetectOptions
    digest: str
    execution_provider: str

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for JSON."""
        return asdict(self)


def model_versions(answer: ListModelsResponse) -> list[ModelVersion]:
    """Reads the list of models."""
    default = (answer.default_model, answer.default_version)
    return [
        _model_version(version, is_default=(version.model, version.version) == default) for version in answer.versions
    ]


def loaded_version(answer: LoadModelVersionResponse) -> ModelVersion:
    """Reads what was loaded."""
    return _model_version(answer.version, is_default=answer.is_default)


def model_input_wh(answer: GetModelResponse) -> tuple[int, int] | None:
    """Reads the size of the model's input, in pixels; None while the server does not know it."""
    return _input_wh(answer.version)


def _model_version(version: model_service_pb2.ModelVersion, *, is_default: bool) -> ModelVersion:
    return ModelVersion(
        model=version.model,
        version=version.version,
        is_default=is_default,
        state=model_service_pb2.ModelState.Name(version.state).removeprefix(_STATE_PREFIX),
        state_message=version.state_message,
        class_names=tuple(version.class_names),
        input_wh=_input_wh(version),
        head=version.head,
        default_options=options_of(version.default_options),
        digest=version.digest,
        execution_provider=version.execution_provider,
    )


def _input_wh(version: model_service_pb2.ModelVersion) -> tuple[int, int] | None:
    if not version.HasField("input_size"):
        return None
    return version.input_size.width, version.input_size.height
