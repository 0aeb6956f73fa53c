"""A model file as something that can be looked at and run: ONNX Runtime behind seams of a few methods."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from detector_grpc.errors import InferenceFailed, ModelInvalid, SetupInvalid
from detector_grpc.serving import graph

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from detector_grpc.serving.inputs import ImageInput

CPU_PROVIDER = "CPUExecutionProvider"
CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
GPU_PROVIDERS = (CUDA, TENSORRT)
OPENVINO = "OpenVINOExecutionProvider"

NOT_INSTALLED = (
    "ONNX Runtime is not installed: `pip install 'detector-grpc[cpu]'`, or with an NVIDIA GPU "
    "`pip install 'detector-grpc[gpu]'` (exactly one of the two)"
)

_NOT_FOR_CPUS = f"; {OPENVINO} runs without it (extra openvino)"
_NOT_FOR_GPUS = "; for NVIDIA GPUs `pip uninstall onnxruntime`, then `pip install 'detector-grpc[gpu]'`"

# Where weights are looked for that lie beside the model file, since that is handed over as bytes.
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"

# Where weights are written to, beside the model file.
_WRITTEN_WEIGHTS = "session.optimized_model_external_initializers_file_name"

# Microseconds for which the threads of a run that have nothing to do go on looking for more before they sleep. Without,
# each operator waits for them to wake up; for as long as ONNX Runtime itself lets them, they take time from others.
_SPIN_DURATION_US, _SPIN_US = "session.intra_op.spin_duration_us", "20"

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
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]
    digest: str


class Session(Protocol):
    """A model that answers calls. `run` may be called by several threads at once, until `close` is.

    Attributes:
        provider: The execution provider that really runs it.
    """

    provider: str

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Runs the model on inputs by name, and returns the outputs of these names, in their order.

        Raises:
            InferenceFailed: The runtime refused.
        """

    def close(self) -> None:
        """Frees the model and its memory; no run may be in progress."""


class ModelFile(Protocol):
    """A model file, for a look at it; its image input takes what the file says."""

    signature: Signature

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """As Session.run."""

    def taking(self, image: ImageInput, *, bf16: bool = False) -> Session:
        """Opens the model for calls, to be fed by `image`; to be closed on its own.

        Args:
            image: The way from pixels to the model's inputs.
            bf16: Whether it may be computed in bfloat16, where that is faster.

        Raises:
            ModelInvalid: It cannot be run as the settings say.
        """

    def close(self) -> None:
        """As Session.close."""


class Model(NamedTuple):
    """An ONNX model in memory.

    Attributes:
        path: Where it comes from; weights that are not in `content` lie beside that.
        content: An ONNX file.
        bf16: Whether it may be computed in bfloat16, where that is faster.
    """

    path: Path
    content: bytes
    bf16: bool = False


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


def check_provider(provider: str, setting: str = "") -> None:
    """Refuses an execution provider that the installed ONNX Runtime does not have.

    Args:
        provider: Its name, as ONNX Runtime has it.
        setting: What it was named by, for the error.

    Raises:
        SetupInvalid: It has others, or none is installed.
    """
    available = import_onnxruntime().get_available_providers()
    if provider not in available:
        named = f"{provider} ({setting})" if setting else provider
        others = ", ".join(available) + _NOT_FOR_CPUS + ("" if CUDA in available else _NOT_FOR_GPUS)
        raise SetupInvalid([f"{named} is not available in this ONNX Runtime; it has {others}"])


class OnnxSession:
    """A model in ONNX Runtime.

    One session is shared by all workers; `parallelism` says with how many threads.

    Args:
        model: The model.
        provider: The execution provider that must run it.
        intra_op_threads: Threads that one run may use.
        provider_options: What the provider is told, by names of its own.
        optimised: Whether to make it fast, which takes longer than a look at it does.

    Raises:
        ModelInvalid: It is no valid ONNX model, or the provider is not the one that runs it.
        SetupInvalid: As check_provider.
    """

    def __init__(
        self,
        model: Model,
        provider: str = CPU_PROVIDER,
        intra_op_threads: int = 1,
        *,
        provider_options: Mapping[str, str] = MappingProxyType({}),
        optimised: bool = True,
    ) -> None:
        ort = import_onnxruntime()
        check_provider(provider)
        options = _options(ort, model, intra_op_threads)
        if not optimised:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = ort.InferenceSession(
                model.content, options, providers=[provider], provider_options=[dict(provider_options)]
            )
        except Exception as error:  # ONNX Runtime raises a class of its own for every kind of broken file
            raise ModelInvalid(f"{model.path}: ONNX Runtime cannot load it: {error}") from error
        self._session._model_bytes = None  # noqa: SLF001 - kept for a change of providers, and as large as the weights
        self.provider: str = self._session.get_providers()[0]
        if self.provider != provider:
            raise ModelInvalid(f"{model.path}: {provider} was asked for, {self.provider} would run it")

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

    def signature(self, digest: str) -> Signature:
        """What a file of this digest says of itself."""
        return Signature(
            inputs=tuple(map(_info, self._session.get_inputs())),
            outputs=tuple(map(_info, self._session.get_outputs())),
            metadata=dict(self._session.get_modelmeta().custom_metadata_map),
            digest=digest,
        )


class OnnxFile:
    """An ONNX file; see ModelFile. It is looked at on the CPU, wherever it is run.

    Args:
        path: The file.
        open_session: Makes a session of a model that takes PICTURES.

    Raises:
        ModelInvalid: The file is missing or no valid ONNX model.
    """

    def __init__(self, path: Path, open_session: Callable[[Model], Session] = OnnxSession) -> None:
        self._open_session = open_session
        try:
            self._model = Model(path, path.read_bytes())
        except OSError as error:
            raise ModelInvalid(f"{path}: cannot be read: {error.strerror}") from error
        self._session = OnnxSession(self._model, optimised=False)
        self.signature = self._session.signature(f"sha256:{hashlib.sha256(self._model.content).hexdigest()}")

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """See ModelFile."""
        return self._session.run(feeds, outputs)

    def taking(self, image: ImageInput, *, bf16: bool = False) -> Session:
        """See ModelFile."""
        content = graph.fold(self._model.content, image.name, image.tensor_format, image.hw)
        return self._open_session(Model(self._model.path, content, bf16))

    def close(self) -> None:
        """See ModelFile."""
        self._session.close()


def optimise(model: Model, folder: Path) -> Model:
    """Writes what ONNX Runtime makes of a model for the processors of this machine, its weights in a file beside it.

    Returns:
        The same model, to be opened with `optimised=False` while the folder is there.

    Raises:
        ModelInvalid: It is no valid model, or cannot be written.
    """
    ort = import_onnxruntime()
    path = folder / "model.onnx"
    options = _options(ort, model)
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry(_WRITTEN_WEIGHTS, "weights")
    try:
        ort.InferenceSession(model.content, options, providers=[CPU_PROVIDER])
        return Model(path, path.read_bytes())
    except Exception as error:
        raise ModelInvalid(f"{model.path}: ONNX Runtime cannot optimise it: {error}") from error


def _options(ort: Any, model: Model, intra_op_threads: int = 1) -> Any:  # noqa: ANN401 - onnxruntime has no types
    options = ort.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; warnings about unused initialisers are nobody's business
    options.add_session_config_entry(_WEIGHTS_FOLDER, str(model.path.parent))
    options.add_session_config_entry(_SPIN_DURATION_US, _SPIN_US)
    return options


def _info(value: Any) -> TensorInfo:  # noqa: ANN401 - onnxruntime has no types
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorInfo(value.name, _DTYPES.get(value.type, value.type), shape)
