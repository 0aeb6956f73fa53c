"""The way from pixels to the numbers that a model takes, as part of the model.

Models differ in type, order and scale of these numbers. Made of a picture one after the other they cost as much as
everything else that is done to it, and are four times as large as it. As the first nodes of the graph they cost next to
nothing: the runtime works on what lies in the processor's cache, and a GPU is sent bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from detector_grpc.serving.inputs import CHANNELS, PICTURES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from detector_grpc.vision.tensor import TensorFormat

_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


class _Step(NamedTuple):
    """A node that takes what the one before it gives.

    Attributes:
        operator: Its operator.
        attributes: Its attributes.
        operand: Its second input, if it has one.
    """

    operator: str
    attributes: Mapping[str, Any]
    operand: NDArray[np.generic] | None = None


def fold(model: bytes, image: str, numbers: TensorFormat, folder: Path) -> bytes:
    """Has a model take pictures.

    Where nothing but convolutions sees the image, their weights take over scale and colour order. They could not take
    over a mean, since a convolution pads with what has none; and in half precision, divided by 255, some would vanish.

    Args:
        model: An ONNX file.
        image: Name of its image input.
        numbers: What that takes.
        folder: Where weights lie that are not in the file.

    Returns:
        The same model with the input PICTURES, uint8 (N, H, W, 3), RGB, in the place of `image`; N, H and W as in the
        file, fixed or open.
    """
    proto = onnx.load_model_from_string(model)
    graph = proto.graph
    convolutions = _convolutions(graph, image, numbers)
    weights = {each.name: each for each in graph.initializer}
    constants = []
    for number, node in enumerate(convolutions):
        kernel = numpy_helper.to_array(weights[node.input[1]], str(folder))
        node.input[1] = f"{PICTURES}.weights.{number}"
        constants.append(_constant(node.input[1], _taking_over(kernel, numbers)))
    nodes, given = [], PICTURES
    for number, step in enumerate(_steps(numbers, is_taken_over=bool(convolutions))):
        inputs, output = [given], f"{PICTURES}.{number}"
        if step.operand is not None:
            inputs.append(f"{output}.operand")
            constants.append(_constant(inputs[1], step.operand))
        nodes.append(helper.make_node(step.operator, inputs, [output], **step.attributes))
        given = output
    nodes.append(helper.make_node("Identity", [given], [image]))
    for node in reversed([*constants, *nodes]):
        graph.node.insert(0, node)
    (old,) = (each for each in graph.input if each.name == image)
    old.CopyFrom(_pictures(old, numbers))
    folded: bytes = proto.SerializeToString()
    return folded


def _steps(numbers: TensorFormat, *, is_taken_over: bool) -> Iterator[_Step]:
    """From pictures to numbers; in bytes for as long as possible."""
    is_reversed = numbers.color_order == "BGR" and not is_taken_over
    is_scaled = not numbers.is_plain and not is_taken_over
    if numbers.dimension_order == "NCHW" or is_reversed:
        yield _Step("Transpose", {"perm": _TO_NCHW})
    if is_reversed:  # whole planes, which takes a tenth of the time that single samples take
        yield _Step("Gather", {"axis": 1}, np.array([2, 1, 0]))
    if numbers.dimension_order == "NHWC" and is_reversed:
        yield _Step("Transpose", {"perm": _TO_NHWC})
    if is_scaled:
        yield _Step("Cast", {"to": TensorProto.FLOAT})
        yield _Step("Mul", {}, numbers.factor)
    if numbers.shift.any():
        yield _Step("Add", {}, numbers.shift)
    yield _Step("Cast", {"to": helper.np_dtype_to_tensor_dtype(np.dtype(numbers.dtype))})


def _convolutions(graph: onnx.GraphProto, image: str, numbers: TensorFormat) -> list[onnx.NodeProto]:
    """Those whose weights can take over what is done to the pictures; none if there is anything else that sees them."""
    is_scaled = (numbers.dtype, numbers.dimension_order) == ("float32", "NCHW") and not numbers.shift.any()
    is_answered = any(each.name == image for each in graph.output)
    kernels = {each.name for each in graph.initializer if each.data_type == TensorProto.FLOAT and _sees_all(each)}
    users = list(_users(graph, image))
    if is_scaled and not is_answered and all(_is_first(node, image, kernels) for node in users):
        return users
    return []


def _users(graph: onnx.GraphProto, name: str) -> Iterator[onnx.NodeProto]:
    """Nodes that take a value, in the bodies of loops and branches, too."""
    for node in graph.node:
        if name in node.input:
            yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _users(body, name)


def _sees_all(kernel: onnx.TensorProto) -> bool:
    return len(kernel.dims) > 1 and kernel.dims[1] == CHANNELS


def _is_first(node: onnx.NodeProto, image: str, kernels: Collection[str]) -> bool:
    return node.op_type == "Conv" and node.input[0] == image and node.input[1] in kernels


def _taking_over(kernel: NDArray[np.float32], numbers: TensorFormat) -> NDArray[np.float32]:
    """Weights (M, 3, H, W) that make of samples in RGB what `kernel` makes of numbers in the model's order."""
    scaled = kernel * numbers.factor
    return scaled if numbers.color_order == "RGB" else scaled[:, ::-1]


def _constant(name: str, value: NDArray[np.generic]) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.ascontiguousarray(value), name))


def _pictures(image: onnx.ValueInfoProto, numbers: TensorFormat) -> onnx.ValueInfoProto:
    """The input that takes the place of `image`."""
    sizes = image.type.tensor_type.shape.dim
    pictures = onnx.ValueInfoProto(name=PICTURES)
    tensor = pictures.type.tensor_type
    tensor.elem_type = TensorProto.UINT8
    tensor.shape.dim.extend(sizes[axis] for axis in (_TO_NHWC if numbers.dimension_order == "NCHW" else range(4)))
    return pictures
