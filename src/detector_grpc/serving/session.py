"""A model file as something that can be run: ONNX Runtime behind a seam of one method."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from detector_grpc.errors import InferenceFailed, ModelInvalid, SetupInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

CPU_PROVIDER = "CPUExecutionProvider"

NOT_INSTALLED = (
    "ONNX Runtime is not installed: `pip install 'detector-grpc[cpu]'`, or with an NVIDIA GPU "
    "`pip install 'detector-grpc[gpu]'` (exactly one of the two)"
)


@dataclass(frozen=True)
class Signature:
    """What a model file says of itself, and what it showed when it was run once.

    Attributes:
        input_hw: Size of the input, model px.
        output_shapes: Shapes of the outputs as seen on a blank picture; a file with dynamic dimensions does not tell.
        metadata: The file's own key-value pairs.
        digest: "sha256:" and 64 hexadecimal digits.
        provider: The execution provider that really runs the model.
    """

    input_hw: tuple[int, int]
    output_shapes: tuple[tuple[int, ...], ...]
    metadata: Mapping[str, str]
    digest: str
    provider: str


class Session(Protocol):
    """A loaded model. `run` may be called by several threads at once."""

    signature: Signature

    def run(self, tensor: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Runs the model on float32 (1, 3, H, W) and returns its outputs.

        Raises:
            InferenceFailed: The runtime refused.
        """


def import_onnxruntime() -> Any:  # noqa: ANN401 - a module without types
    """The installed ONNX Runtime.

    Raises:
        SetupInvalid: None is installed; it comes with one of two extras.
    """
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

    Raises:
        ModelInvalid: The file is missing or no valid ONNX model, or the provider is not the one that runs it.
    """

    def __init__(self, path: Path, provider: str = CPU_PROVIDER, intra_op_threads: int = 1) -> None:
        ort = import_onnxruntime()
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelInvalid(f"{path}: cannot be read: {error.strerror}") from error
        if provider not in ort.get_available_providers():
            available = ", ".join(ort.get_available_providers())
            raise ModelInvalid(f"{provider} is not available in this ONNX Runtime; it has {available}")
        options = ort.SessionOptions()
        options.intra_op_num_threads = intra_op_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; warnings about unused initialisers are nobody's business
        try:
            self._session = ort.InferenceSession(str(path), options, providers=[provider])
        except Exception as error:  # ONNX Runtime raises a class of its own for every kind of broken file
            raise ModelInvalid(f"{path}: ONNX Runtime cannot load it: {error}") from error
        self.signature = self._read_signature(path, provider, f"sha256:{digest}")

    def run(self, tensor: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """See Session."""
        try:
            outputs: list[NDArray[np.float32]] = self._session.run(None, {self._input_name: tensor})
        except Exception as error:
            raise InferenceFailed from error
        return outputs

    def _read_signature(self, path: Path, provider: str, digest: str) -> Signature:
        used = self._session.get_providers()[0]
        if used != provider:
            raise ModelInvalid(f"{path}: {provider} was asked for, {used} would run it")
        self._input_name, input_hw = _only_input(path, self._session.get_inputs())
        blank = np.zeros((1, 3, *input_hw), np.float32)
        try:
            outputs = self.run(blank)
        except InferenceFailed as error:
            raise ModelInvalid(f"{path}: cannot be run on a blank picture: {error.__cause__}") from error
        return Signature(
            input_hw=input_hw,
            output_shapes=tuple(output.shape for output in outputs),
            metadata=dict(self._session.get_modelmeta().custom_metadata_map),
            digest=digest,
            provider=used,
        )


def _only_input(path: Path, inputs: Sequence[Any]) -> tuple[str, tuple[int, int]]:
    """Name and height and width of the one input that a detector has."""
    match [(each.name, each.type, each.shape) for each in inputs]:
        case [(str(name), "tensor(float)", [1 | str() | None, 3, int(height), int(width)])]:
            return name, (height, width)
    seen = ", ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
    raise ModelInvalid(
        f"{path}: a detector has one input, float32 [1 or dynamic, 3, height, width] of fixed size; this has {seen}"
    )
