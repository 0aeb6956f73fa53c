"""The way from pixels to the numbers that a model takes, as part of the model.

Models differ in type, order and scale of these numbers. Made of a picture one after the other they cost as much as
everything else that is done to it, and are four times as large as it. As the first nodes of the graph they cost next to
nothing: the runtime works on what lies in the processor's cache, and a GPU is sent bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from detector_grpc._gen.onnx.graph_pb2 import Attribute, Graph, Model, Node, Shape, Tensor, Type, Value
from detector_grpc.errors import ModelInvalid
from detector_grpc.serving.inputs import CHANNELS, PICTURES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from detector_grpc.vision.tensor import TensorFormat

_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)

_DTYPES = {
    "float32": Tensor.FLOAT,
    "float16": Tensor.FLOAT16,
    "uint8": Tensor.UINT8,
    "int64": Tensor.INT64,
}


class _Step(NamedTuple):
    """A node that takes what the one before it gives.

    Attributes:
        operator: Its operator.
        attribute: Its attribute, if it has one.
        operand: Its second input, if it has one.
    """

    operator: str
    attribute: Attribute | None = None
    operand: NDArray[np.generic] | None = None


def fold(file: bytes, image: str, numbers: TensorFormat, hw: tuple[int, int], pictures: str = PICTURES) -> bytes:
    """Has a model take pictures.

    Where nothing but convolutions sees the image, their weights take over scale and colour order. They could not take
    over a mean, since a convolution pads with what has none; and in half precision, divided by 255, some would vanish.

    Args:
        file: An ONNX file that the runtime can load.
        image: Name of its image input.
        numbers: What that takes.
        hw: Size of the pictures, px.
        pictures: Name of the input that takes its place. A file that was folded under another name can be folded again.

    Returns:
        The same model with the input `pictures`, uint8 (N, *hw, 3), RGB, in the place of `image`; N as in the file,
        fixed or open.
    """
    model = Model.FromString(file)
    graph = model.graph
    convolutions = _convolutions(graph, image, numbers)
    kernels = {each.name: each for each in graph.initializer}
    constants, nodes, given = [], [], pictures
    for number, node in enumerate(convolutions):
        kernel = _taking_over(kernels[node.input[1]], numbers)
        node.input[1] = f"{pictures}.kernel.{number}"
        constants.append(_constant(node.input[1], kernel))
    for number, step in enumerate(_steps(numbers, is_taken_over=bool(convolutions))):
        node = Node(op_type=step.operator, input=[given], output=[f"{pictures}.{number}"])
        (given,) = node.output
        if step.attribute is not None:
            node.attribute.append(step.attribute)
        if step.operand is not None:
            node.input.append(f"{given}.operand")
            constants.append(_constant(node.input[1], step.operand))
        nodes.append(node)
    nodes.append(Node(op_type="Identity", input=[given], output=[image]))
    for node in reversed([*constants, *nodes]):
        graph.node.insert(0, node)
    (old,) = (each for each in graph.input if each.name == image)
    old.CopyFrom(_pictures(pictures, old, hw))
    folded: bytes = model.SerializeToString()
    return folded


def has_external_data(file: bytes) -> bool:
    """Whether a model has weights that lie in other files.

    Args:
        file: An ONNX file, or what is meant as one.

    Raises:
        ModelInvalid: It is none.
    """
    try:
        graph = Model.FromString(file).graph
    except DecodeError as error:
        raise ModelInvalid("it is no ONNX file") from error
    return any(each.data_location == Tensor.EXTERNAL for each in _tensors(graph))


def _tensors(graph: Graph) -> Iterator[Tensor]:
    """Constants, in the bodies of loops and branches, too."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            for body in (attribute.g, *attribute.graphs):
                yield from _tensors(body)


def _steps(numbers: TensorFormat, *, is_taken_over: bool) -> Iterator[_Step]:
    """From pictures to numbers; in bytes for as long as possible."""
    is_reversed = numbers.color_order == "BGR" and not is_taken_over
    if numbers.dimension_order == "NCHW" or is_reversed:
        yield _Step("Transpose", Attribute(name="perm", type=Attribute.INTS, ints=_TO_NCHW))
    if is_reversed:  # whole planes, which takes a tenth of the time that single samples take
        yield _Step("Gather", Attribute(name="axis", type=Attribute.INT, i=1), np.array([2, 1, 0]))
    if numbers.dimension_order == "NHWC" and is_reversed:
        yield _Step("Transpose", Attribute(name="perm", type=Attribute.INTS, ints=_TO_NHWC))
    if not (numbers.is_plain or is_taken_over):
        yield _cast(Tensor.FLOAT)
        yield _Step("Mul", operand=numbers.factor)
    if numbers.shift.any():
        yield _Step("Add", operand=numbers.shift)
    yield _cast(_DTYPES[numbers.dtype])


def _cast(dtype: Tensor.DataType) -> _Step:
    return _Step("Cast", Attribute(name="to", type=Attribute.INT, i=dtype))


def _convolutions(graph: Graph, image: str, numbers: TensorFormat) -> list[Node]:
    """Those whose weights can take over what is done to the pictures; none if there is anything else that sees them."""
    is_scaled = (numbers.dtype, numbers.dimension_order) == ("float32", "NCHW") and not numbers.shift.any()
    is_answered = any(each.name == image for each in graph.output)
    kernels = {
        each.name
        for each in graph.initializer
        # Weights that lie beside the file are left there.
        if each.data_type == Tensor.FLOAT and each.raw_data and len(each.dims) > 1 and each.dims[1] == CHANNELS
    }
    users = list(_users(graph, image))
    if is_scaled and not is_answered and all(_convolves(node, image, kernels) for node in users):
        return users
    return []


def _users(graph: Graph, name: str) -> Iterator[Node]:
    """Nodes that take a value, in the bodies of loops and branches, too."""
    for node in graph.node:
        if name in node.input:
            yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _users(body, name)


def _convolves(node: Node, image: str, kernels: set[str]) -> bool:
    return node.op_type == "Conv" and node.input[0] == image and node.input[1] in kernels


def _taking_over(kernel: Tensor, numbers: TensorFormat) -> NDArray[np.float32]:
    """Weights (M, 3, H, W) that make of samples in RGB what `kernel` makes of numbers in the model's order."""
    scaled = np.frombuffer(kernel.raw_data, "<f4").reshape(kernel.dims) * numbers.factor
    return scaled if numbers.color_order == "RGB" else scaled[:, ::-1]


def _constant(name: str, value: NDArray[np.generic]) -> Node:
    little_endian = value.astype(value.dtype.newbyteorder("<")).tobytes()
    tensor = Tensor(dims=value.shape, data_type=_DTYPES[value.dtype.name], raw_data=little_endian)
    attribute = Attribute(name="value", type=Attribute.TENSOR, t=tensor)
    return Node(op_type="Constant", output=[name], attribute=[attribute])


def _pictures(name: str, image: Value, hw: tuple[int, int]) -> Value:
    """The input of this name that takes the place of `image`."""
    batch, *_ = image.type.tensor_type.shape.dim
    shape = Shape(dim=[batch, *(Shape.Dimension(dim_value=size) for size in (*hw, CHANNELS))])
    return Value(name=name, type=Type(tensor_type=Type.Tensor(elem_type=Tensor.UINT8, shape=shape)))
