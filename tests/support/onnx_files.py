"""Small ONNX detectors whose boxes are constants, so that every expected value can be written down."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Side of the matrices that a costly model multiplies.
_COSTLY_SIDE = 384

OPSET = 17
IR_VERSION = 8  # that of the opset; newer ones are refused by older runtimes


class Box(NamedTuple):
    """What a model finds in every picture: corners in model px, class and confidence."""

    xyxy: tuple[float, float, float, float]
    class_id: int = 0
    confidence: float = 0.9


BOX = Box((16, 8, 48, 40))


def tiny_onnx(
    path: Path,
    *,
    boxes: Sequence[Box] = (BOX,),
    input_hw: tuple[int, int] = (64, 64),
    layout: str = "cxcywh",
    classes: int = 2,
    columns: int = 32,
    names: str | None = None,
    metadata: Mapping[str, str] | None = None,
    output_shape: Sequence[int] | None = None,
    cost: int = 0,
    sees_red: bool = False,
) -> Path:
    """Writes a detector.

    Args:
        path: Where to; folders are made.
        boxes: What it finds in every picture.
        input_hw: Size of its input.
        layout: "cxcywh" or "xyxy"; the latter is told by the metadata of libreyolo.
        classes: Number of classes.
        columns: Number of columns of its output, of which those without a box have confidence 0.
        names: Metadata key `names`.
        metadata: More metadata.
        output_shape: Shape of its output, all zeros, for files that are no detectors.
        cost: Number of large matrix products that one run takes.
        sees_red: Whether confidence is only as high as the picture is red.
    """
    output = _output(boxes, layout, classes, columns) if output_shape is None else np.zeros(output_shape, np.float32)
    properties = {**(metadata or {})}
    if names is not None:
        properties["names"] = names
    if layout == "xyxy":
        properties["model_family"] = "yolo9"
    # Every output depends on the input, or the runtime would compute it once and for all when it loads the file.
    nodes = [helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0)]
    constants = {"zero": np.float32(0), "boxes": output}
    initializers = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    last = "mean"
    if cost:
        nodes += _costly(initializers, cost)
        last = "costly_mean"
    found = "boxes"
    if sees_red:
        nodes += _seeing_red(initializers, classes)
        found = "red_boxes"
    nodes += [
        helper.make_node("Mul", [last, "zero"], ["nothing"]),
        helper.make_node("Add", [found, "nothing"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *input_hw])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, output.shape)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def cost_of(seconds: float, folder: Path) -> int:
    """The `cost` that makes one run take about so long on this machine, on one thread."""
    probe = 8
    path = tiny_onnx(folder / "probe.onnx", cost=probe)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    picture = {"images": np.zeros((1, 3, 64, 64), np.float32)}
    session.run(None, picture)
    took_s = []
    for _ in range(3):
        started = time.perf_counter()
        session.run(None, picture)
        took_s.append(time.perf_counter() - started)
    return max(1, round(seconds / min(took_s) * probe))


def _output(boxes: Sequence[Box], layout: str, classes: int, columns: int) -> np.ndarray:
    output = np.zeros((1, 4 + classes, columns), np.float32)
    for column, box in enumerate(boxes):
        x_min, y_min, x_max, y_max = box.xyxy
        corners = (x_min, y_min, x_max, y_max)
        center = ((x_min + x_max) / 2, (y_min + y_max) / 2, x_max - x_min, y_max - y_min)
        output[0, :4, column] = corners if layout == "xyxy" else center
        output[0, 4 + box.class_id, column] = box.confidence
    return output


def _seeing_red(initializers: list[TensorProto], classes: int) -> list[onnx.NodeProto]:
    """Rows of confidence times the mean of the first channel."""
    is_box = np.array([1.0] * 4 + [0.0] * classes, np.float32)[:, None]
    initializers += [
        numpy_helper.from_array(np.asarray(0, np.int64), "red_channel"),
        numpy_helper.from_array(is_box, "is_box"),
        numpy_helper.from_array(1 - is_box, "is_confidence"),
    ]
    return [
        helper.make_node("Gather", ["images", "red_channel"], ["red"], axis=1),
        helper.make_node("ReduceMean", ["red"], ["redness"], keepdims=0),
        helper.make_node("Mul", ["is_confidence", "redness"], ["confidence_factor"]),
        helper.make_node("Add", ["is_box", "confidence_factor"], ["factor"]),
        helper.make_node("Mul", ["boxes", "factor"], ["red_boxes"]),
    ]


def _costly(initializers: list[TensorProto], cost: int) -> list[onnx.NodeProto]:
    """A loop of matrix products, which starts from the input so that it cannot be skipped."""
    identity = np.eye(_COSTLY_SIDE, dtype=np.float32)
    initializers += [
        numpy_helper.from_array(identity, "identity"),
        numpy_helper.from_array(np.asarray(cost, np.int64), "cost"),
        numpy_helper.from_array(np.asarray(True), "always"),  # noqa: FBT003 - the value of a constant
    ]
    matrix = [_COSTLY_SIDE, _COSTLY_SIDE]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on_in"], ["go_on_out"]),
            helper.make_node("MatMul", ["state_in", "identity"], ["state_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("iteration", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_in", TensorProto.FLOAT, matrix),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_out", TensorProto.FLOAT, matrix),
        ],
    )
    return [
        helper.make_node("Add", ["identity", "mean"], ["state"]),
        helper.make_node("Loop", ["cost", "always", "state"], ["product"], body=body),
        helper.make_node("ReduceMean", ["product"], ["costly_mean"], keepdims=0),
    ]
