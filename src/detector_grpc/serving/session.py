"""A model file as something that can be run: ONNX Runtime behind a seam of one method."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from detector_grpc.errors import InferenceFailed, ModelInvalid, SetupInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from detector_grpc.serving.inputs import ImageInput

CPU_PROVIDER = "CPUExecutionProvider"

NOT_INSTALLED = (
    "ONNX Runtime is not installed: `pip install 'detector-grpc[cpu]'`, or with an NVIDIA GPU "
    "`pip install 'detector-grpc[gpu]'` (exactly one of the two)"
)

# Where weights are looked for that lie beside the model file, since that is handed over as bytes.
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


@dataclass(frozen=True)
class TensorInfo:
    """What a model file says of one input or output.

    Attributes:
        name: Its name.
        dtype: Type as numpy names it, e.g. "float32"; as ONNX Runtime does where numpy has none of the kind.
        shape: Sizes, None where the file leaves them open.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.dtype} [{sizes}]"


@dataclass(frozen=True)
class Signature:
    """What a model file says of itself.

    Attributes:
        inputs: Its inputs.
        outputs: Its outputs.
        metadata: The file's own key-value pairs.
        digest: "sha256:" and 64 hexadecimal digits.
        provider: The execution provider that really runs the model.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]
    digest: str
    provider: str


class Session(Protocol):
    """A loaded model. `run` may be called by several threads at once, until `close` is."""

    signature: Signature

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Runs the model on inputs by name, and returns the outputs of these names, in their order.

        Raises:
            InferenceFailed: The runtime refused.
        """

    def taking(self, image: ImageInput) -> Session:
        """Opens the same model again, to be fed by `image`: ready for calls, and to be closed on its own.

        Raises:
            ModelInvalid: The file is no longer what it was.
        """

    def close(self) -> None:
        """Frees the model and its memory; no run may be in progress."""


def import_onnxruntime() -> Any:  # noqa: ANN401 - a module without types
    """The installed ONNX Runtime, which tells nobody of its use unless the variable says "0".

    Raises:
        SetupInvalid: None is installed; it comes with one of two extras.
    """
    # From 1.29 on it reports to its maker, also where it cannot reach him, and names the machine in a file. What can be
    # switched off later is less, and reports once before.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # noqa: TID251 - not a setting of ours, and read by a C library
    try:
        import onnxruntime  # noqa: PLC0415 - installed by extra, and slow to import
    except ImportError as error:
        raise SetupInvalid([NOT_INSTALLED]) from error
    return onnxruntime


class OnnxSession:
    """An ONNX file in ONNX Runtime.

    One session is shared by all workers, each running on its own thread (`intra_op_threads=1`): on CPUs that gives the
    most pictures per second, and the weights are in memory once.

    Args:
        path: The model file.
        provider: The execution provider that must run it.
        intra_op_threads: Threads that one run may use.
        image: How its image input is fed, which then is part of the model: it takes PICTURES. None: the model as it is,
            opened without optimising it, for a look at it.

    Raises:
        ModelInvalid: The file is missing or no valid ONNX model, or the provider is not the one that runs it.
    """

    def __init__(
        self,
        path: Path,
        provider: str = CPU_PROVIDER,
        intra_op_threads: int = 1,
        image: ImageInput | None = None,
    ) -> None:
        ort = import_onnxruntime()
        self._path, self._intra_op_threads = path, intra_op_threads
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelInvalid(f"{path}: cannot be read: {error.strerror}") from error
        if provider not in ort.get_available_providers():
            available = ", ".join(ort.get_available_providers())
            raise ModelInvalid(f"{provider} is not available in this ONNX Runtime; it has {available}")
        options = ort.SessionOptions()
        options.intra_op_num_threads = intra_op_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; warnings about unused initialisers are nobody's business
        options.add_session_config_entry(_WEIGHTS_FOLDER, str(path.parent))
        if image is None:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            model = content if image is None else _taking_pictures(content, image, path.parent)
            self._session = ort.InferenceSession(model, options, providers=[provider])
        except Exception as error:  # ONNX Runtime raises a class of its own for every kind of broken file
            raise ModelInvalid(f"{path}: ONNX Runtime cannot load it: {error}") from error
        self._session._model_bytes = None  # noqa: SLF001 - kept for a change of providers, and as large as the weights
        used = self._session.get_providers()[0]
        if used != provider:
            raise ModelInvalid(f"{path}: {provider} was asked for, {used} would run it")
        self.signature = Signature(
            inputs=tuple(map(_info, self._session.get_inputs())),
            outputs=tuple(map(_info, self._session.get_outputs())),
            metadata=dict(self._session.get_modelmeta().custom_metadata_map),
            digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
            provider=used,
        )

    def taking(self, image: ImageInput) -> OnnxSession:
        """See Session."""
        return type(self)(self._path, self.signature.provider, self._intra_op_threads, image)

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """See Session."""
        try:
            values: list[NDArray[Any]] = self._session.run(outputs, feeds)
        except Exception as error:
            raise InferenceFailed from error
        return values

    def close(self) -> None:
        """See Session."""
        self._session = None  # whoever else still holds this object, the model is freed now


def _taking_pictures(model: bytes, image: ImageInput, folder: Path) -> bytes:
    from detector_grpc.serving import graph  # noqa: PLC0415 - needs what is installed by extra, as ONNX Runtime is

    return graph.fold(model, image.name, image.tensor_format, folder)


def _info(value: Any) -> TensorInfo:  # noqa: ANN401 - onnxruntime has no types
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorInfo(value.name, _DTYPES.get(value.type, value.type), shape)
