"""OpenVINO as an execution provider: the runtime itself, since the one inside ONNX Runtime falls back unasked."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from detector_grpc.errors import InferenceFailed, ModelInvalid, SetupInvalid
from detector_grpc.serving.per_thread import PerThread
from detector_grpc.serving.session import OPENVINO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from detector_grpc.serving.session import Model

NOT_INSTALLED = "OpenVINO is not installed: `pip install 'detector-grpc[cpu,openvino]'`"

_TELEMETRY = "openvino_telemetry"

_one_at_a_time = threading.Lock()


def import_openvino() -> Any:  # noqa: ANN401 - a module that is not installed everywhere
    """The installed OpenVINO, which tells nobody of its use.

    Raises:
        SetupInvalid: None is installed; it comes with an extra.
    """
    # Its import reports to its maker. Where the package that does so is absent, it goes without.
    sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type] # None: cannot be imported
    with _one_at_a_time:
        try:
            import openvino  # noqa: PLC0415 - installed by extra, and slow to import
        except ImportError as error:
            raise SetupInvalid([NOT_INSTALLED]) from error
        # The first call makes a table, and two that come at once wait for each other for good (2026.4.1): the one that
        # makes it lets go of Python's lock meanwhile, the other holds it and waits for the table. Runs make such calls.
        openvino.Type.f32.to_dtype()
    return openvino


def has_bf16() -> bool:
    """Whether this processor computes in bfloat16.

    Raises:
        SetupInvalid: As import_openvino.
    """
    return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def open_pair(workers: int, model: Model, threads: Sequence[int]) -> Sequence[OpenVinoSession]:
    """A model twice: as many pictures beside each other as there are workers, or one; with these numbers of threads.

    See parallelism.AdaptiveSession. Either has the weights.

    Raises:
        ModelInvalid: As OpenVinoSession.
    """
    narrow, wide = threads
    return OpenVinoSession(model, narrow, streams=workers), OpenVinoSession(model, wide)


class OpenVinoSession:
    """A model in OpenVINO, on the CPU; see Session.

    Args:
        model: The model; computed in bfloat16 if it may and the processor can, else in float32.
        threads: Of the model for one picture.
        streams: Pictures that are run beside each other, each with `threads`.

    Raises:
        ModelInvalid: OpenVINO cannot run it, or not as it was told to.
        SetupInvalid: As import_openvino.
    """

    provider = OPENVINO

    def __init__(self, model: Model, threads: int = 1, streams: int = 1) -> None:
        openvino = import_openvino()
        core = openvino.Core()
        precision = "bf16" if model.bf16 and has_bf16() else "f32"
        asked = {
            "INFERENCE_PRECISION_HINT": precision,
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams * threads,
            "ENABLE_CPU_PINNING": False,
        }
        try:
            network = core.read_model(model.content)
            network.reshape({each: [1, *each.partial_shape[1:]] for each in network.inputs})
            self._compiled = core.compile_model(network, "CPU", asked)
        except Exception as error:  # OpenVINO raises RuntimeError for whatever it does not know
            raise ModelInvalid(f"{model.path}: OpenVINO cannot load it: {error}") from error
        told = {key: self._compiled.get_property(key) for key in ("INFERENCE_PRECISION_HINT", "NUM_STREAMS")}
        if told != {"INFERENCE_PRECISION_HINT": getattr(openvino.Type, precision), "NUM_STREAMS": streams}:
            raise ModelInvalid(f"{model.path}: OpenVINO was told {asked}, and would run it with {told}")
        self._requests: PerThread[Any] = PerThread()

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """See Session."""
        try:
            results = self._requests.get(self._compiled.create_infer_request).infer(dict(feeds), share_inputs=True)
            return [results[name] for name in outputs]
        except Exception as error:
            raise InferenceFailed from error

    def close(self) -> None:
        """See Session."""
        self._requests = PerThread()
        self._compiled = None
