"""Numbers of 16 bits: for weights as they are stored, or for all that is computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from detector_grpc.optimisation.tools import import_onnx

# Smaller tensors save nothing, and those of first layers and biases are the ones that rounding would harm.
_LEAST_NUMBERS = 1024


def store_in_half(model: Any) -> Any:  # noqa: ANN401 - onnx.ModelProto
    """A model whose large weights are stored in float16, and made float32 again when it is loaded.

    What is computed stays float32; only the weights are rounded, to 11 bits.
    """
    onnx = import_onnx()
    graph, casts = model.graph, []
    for weights in graph.initializer:
        values = _rounded(onnx.numpy_helper.to_array(weights))
        if values is None:
            continue
        name = weights.name
        weights.CopyFrom(onnx.numpy_helper.from_array(values, f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [weights.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def compute_in_half(model: Any) -> Any:  # noqa: ANN401 - onnx.ModelProto
    """A model that computes in float16, for GPUs; its inputs and outputs stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415 - slow to import

    return convert_float_to_float16(model, keep_io_types=True)


def _rounded(values: np.ndarray) -> np.ndarray | None:
    """The numbers in float16; None where that saves little, or there is one that float16 does not reach."""
    if values.dtype != np.float32 or values.size < _LEAST_NUMBERS or np.abs(values).max() > np.finfo(np.float16).max:
        return None
    return values.astype(np.float16)
