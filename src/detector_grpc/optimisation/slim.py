"""The same computation in fewer nodes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from detector_grpc.errors import ModelInvalid
from detector_grpc.optimisation.tools import drop_unused_domains, import_onnx
from detector_grpc.serving.session import CPU_PROVIDER, import_onnxruntime


def slim(model: Any) -> Any:  # noqa: ANN401 - onnx.ModelProto
    """A model without what its result does not need: ONNX Runtime computes constants, and joins and drops nodes.

    Only what every runtime and processor gains from, and only operators of ONNX itself; weights that were stored in
    half precision are float32 then.

    Raises:
        ModelInvalid: ONNX Runtime cannot load it.
    """
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory(prefix="detector-grpc-") as folder:
        path = Path(folder) / "slim.onnx"
        options.optimized_model_filepath = str(path)
        try:
            ort.InferenceSession(model.SerializeToString(), options, providers=[CPU_PROVIDER])
        except Exception as error:  # ONNX Runtime raises a class of its own for every kind of broken file
            raise ModelInvalid(f"ONNX Runtime cannot load it: {error}") from error
        slimmed = import_onnx().load(path)
    drop_unused_domains(slimmed)
    return slimmed
