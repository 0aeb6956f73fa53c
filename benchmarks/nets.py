"""Networks with random weights, for scripts that need their price and not their boxes: they find nothing.

`gelan_t` costs what YOLOv9-T does. It is built from the paper's description of GELAN (Wang, Yeh and Liao 2024,
arXiv:2402.13616) and has the published size: 2.0 million parameters and 7.7 GFLOP for a picture of 640 x 640. `tiny`
costs next to nothing, so that what is around it shows.

`gelan_t_320` is `gelan_t` for pictures of 320 x 320.

`python benchmarks/nets.py FOLDER` writes a model repository with `gelan_t`, or with the one that `--net` names.
"""

from __future__ import annotations

import argparse
import math
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# float32 (1, 3, side, side), RGB, range [0, 1] -> float32 (1, 4 + CLASSES, points): cx, cy, w, h in pixels, and scores.
SIDE, SMALL_SIDE = 640, 320
CLASSES = 80
STRIDES = (8, 16, 32)

# Of the distance from a point to a side of its box, in strides, a distribution over 0 .. BINS - 1.
BINS = 16

OPSET = 17
IR_VERSION = 8  # that of the opset; newer ones are refused by older runtimes

# Before the sigmoid.
_IMPROBABLE = -12.0


class Graph:
    """Nodes and weights. Every method adds a layer, and returns the name of its output.

    Args:
        side: Width and height of the input.
    """

    def __init__(self, side: int) -> None:
        self._side = side
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._channels = {"images": 3}
        self._random = np.random.default_rng(0)

    def op(self, kind: str, *inputs: str, channels: int = 0, **attributes: object) -> str:
        """Any operator; its output has the channels of its first input unless told otherwise."""
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        self._channels[output] = channels or self._channels.get(inputs[0], 0)
        return output

    def constant(self, values: np.ndarray) -> str:
        """An array."""
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def plain_conv(
        self, x: str, channels: int, size: int = 1, stride: int = 1, groups: int = 1, bias: float = 0
    ) -> str:
        """A convolution, at a scale that keeps what goes through it as large as it was."""
        inputs = self._channels[x] // groups
        scale = math.sqrt(2 / (inputs * size * size))
        kernel = self._random.normal(0, scale, (channels, inputs, size, size)).astype(np.float32)
        weights = self.constant(kernel), self.constant(np.full(channels, bias, np.float32))
        pads = [size // 2] * 4
        return self.op("Conv", x, *weights, channels=channels, strides=[stride] * 2, pads=pads, group=groups)

    def conv(self, x: str, channels: int, size: int = 1, stride: int = 1, groups: int = 1) -> str:
        """A convolution and SiLU."""
        x = self.plain_conv(x, channels, size, stride, groups)
        return self.op("Mul", x, self.op("Sigmoid", x))

    def concat(self, *parts: str) -> str:
        """Channels of all of them."""
        return self.op("Concat", *parts, channels=sum(self._channels[part] for part in parts), axis=1)

    def halves(self, x: str) -> tuple[str, str]:
        """The first and the second half of the channels."""
        name, channels = f"Split_{len(self.nodes)}", self._channels[x] // 2
        halves = f"{name}_a", f"{name}_b"
        self.nodes.append(helper.make_node("Split", [x], halves, axis=1))
        self._channels |= dict.fromkeys(halves, channels)
        return halves

    def csp(self, x: str, channels: int, repeats: int = 3) -> str:
        """A cross stage partial block of residual pairs."""
        inner, beside = self.conv(x, channels // 2), self.conv(x, channels // 2)
        for _ in range(repeats):
            inner = self.op("Add", inner, self.conv(self.conv(inner, channels // 2, 3), channels // 2, 3))
        return self.conv(self.concat(inner, beside), channels)

    def elan(self, x: str, channels: int) -> str:
        """Layer aggregation of two cross stage partial blocks."""
        first, second = self.halves(self.conv(x, channels))
        third = self.conv(self.csp(second, channels // 2), channels // 2, 3)
        fourth = self.conv(self.csp(third, channels // 2), channels // 2, 3)
        return self.conv(self.concat(first, second, third, fourth), channels)

    def small_elan(self, x: str, channels: int) -> str:
        """Layer aggregation of two convolutions."""
        first, second = self.halves(self.conv(x, channels))
        third = self.conv(second, channels // 2, 3)
        fourth = self.conv(third, channels // 2, 3)
        return self.conv(self.concat(first, second, third, fourth), channels)

    def down(self, x: str, channels: int) -> str:
        """Half the width and height."""
        pooled = self.op("AveragePool", x, kernel_shape=[2, 2], strides=[1, 1])
        return self.conv(pooled, channels, 3, 2)

    def up(self, x: str) -> str:
        """Twice the width and height."""
        return self.op("Resize", x, "", self.constant(np.float32([1, 1, 2, 2])), mode="nearest")

    def pool(self, x: str, channels: int) -> str:
        """Spatial pyramid pooling."""
        parts = [self.conv(x, channels // 2)]
        for _ in range(3):
            parts.append(self.op("MaxPool", parts[-1], kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4))
        return self.conv(self.concat(*parts), channels)

    def head(self, levels: list[str]) -> str:
        """Boxes and scores of all points of all levels."""
        points = [(self._side // stride) ** 2 for stride in STRIDES]
        sides, scores = [], []
        for x, count in zip(levels, points, strict=True):
            box = self.conv(self.conv(x, 4 * BINS, 3), 4 * BINS, 3, groups=4)
            box = self.plain_conv(box, 4 * BINS, groups=4)
            sides.append(self.op("Reshape", box, self.constant(np.int64([0, 4, BINS, count]))))
            score = self.plain_conv(self.conv(self.conv(x, CLASSES, 3), CLASSES, 3), CLASSES, bias=_IMPROBABLE)
            scores.append(self.op("Reshape", score, self.constant(np.int64([0, CLASSES, count]))))
        share = self.op("Softmax", self.op("Concat", *sides, axis=3), axis=2)
        bins = self.constant(np.arange(BINS, dtype=np.float32).reshape(1, 1, BINS, 1))
        distance = self.op("ReduceSum", self.op("Mul", share, bins), self.constant(np.int64([2])), keepdims=0)
        before, after = self.halves(distance)
        centres = [
            np.stack(np.mgrid[: self._side // s, : self._side // s][::-1]).reshape(1, 2, -1) + 0.5 for s in STRIDES
        ]
        centre = self.constant(np.concatenate(centres, 2).astype(np.float32))
        stride = self.constant(np.repeat(np.float32(STRIDES), points).reshape(1, 1, -1))
        shift = self.op("Mul", self.op("Sub", after, before), self.constant(np.float32(0.5)))
        xy = self.op("Mul", self.op("Add", shift, centre), stride)
        wh = self.op("Mul", self.op("Add", after, before), stride)
        return self.op("Concat", xy, wh, self.op("Sigmoid", self.op("Concat", *scores, axis=2)), axis=1)

    def model(self, name: str, output: str) -> onnx.ModelProto:
        """All of it."""
        points = sum((self._side // stride) ** 2 for stride in STRIDES)
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, self._side, self._side])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 4 + CLASSES, points])],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model


def gelan_t(side: int = SIDE) -> onnx.ModelProto:
    """The network of the paper."""
    net = Graph(side)
    x = net.small_elan(net.conv(net.conv("images", 16, 3, 2), 32, 3, 2), 32)
    third = net.elan(net.down(x, 64), 64)
    fourth = net.elan(net.down(third, 96), 96)
    fifth = net.pool(net.elan(net.down(fourth, 128), 128), 128)
    fourth = net.elan(net.concat(net.up(fifth), fourth), 96)
    third = net.elan(net.concat(net.up(fourth), third), 64)
    fourth = net.elan(net.concat(net.down(third, 48), fourth), 96)
    fifth = net.elan(net.concat(net.down(fourth, 64), fifth), 128)
    return net.model("gelan_t", net.head([third, fourth, fifth]))


def tiny() -> onnx.ModelProto:
    """Means of squares, each looked at on its own."""
    net = Graph(SMALL_SIDE)
    levels = []
    for stride in STRIDES:
        mean = net.op("AveragePool", "images", kernel_shape=[stride] * 2, strides=[stride] * 2)
        boxes, scores = net.plain_conv(mean, 4), net.plain_conv(mean, CLASSES, bias=_IMPROBABLE)
        level = net.concat(boxes, net.op("Sigmoid", scores))
        levels.append(net.op("Reshape", level, net.constant(np.int64([0, 4 + CLASSES, (SMALL_SIDE // stride) ** 2]))))
    return net.model("tiny", net.op("Concat", *levels, axis=2))


NETS = {"gelan_t": gelan_t, "gelan_t_320": partial(gelan_t, SMALL_SIDE), "tiny": tiny}


def write_repository(folder: Path, net: str = "gelan_t") -> Path:
    """Writes a network as version v1 of the model of its name, and returns the repository."""
    file = folder / net / "v1" / "model.onnx"
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(NETS[net](), file)
    return folder


def main() -> None:
    """Writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--net", choices=NETS, default="gelan_t")
    arguments = parser.parse_args()
    write_repository(arguments.folder, arguments.net)


if __name__ == "__main__":
    main()
