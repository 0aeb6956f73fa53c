from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

Shape = tuple[int | str | None, ...]


@pytest.fixture
def make_onnx(tmp_path: Path) -> Callable[..., Path]:
    """Writes an ONNX file that answers every picture with the same zeros, of the shape asked for."""

    def make(
        *,
        inputs: Sequence[tuple[str, int, Shape]] = (("images", TensorProto.FLOAT, (1, 3, 32, 48)),),
        output: tuple[int, ...] = (1, 6, 21),
        metadata: Mapping[str, str] | None = None,
        name: str = "model.onnx",
    ) -> Path:
        nodes = [
            helper.make_node("ReduceMean", [inputs[0][0]], ["mean"], keepdims=0),
            helper.make_node("Cast", ["mean"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["blank", "wide"], ["output"]),
        ]
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info(*each) for each in inputs],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, output)],
            [numpy_helper.from_array(np.zeros(output, np.float32), "blank")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        helper.set_model_props(model, dict(metadata or {}))
        onnx.checker.check_model(model)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)
        return path

    return make
