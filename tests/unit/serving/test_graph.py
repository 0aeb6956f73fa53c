"""A model that takes pictures answers what it answered to the numbers that were made of them, by the formula."""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING, get_args

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from support.servers import BUNDLED_MODELS

from detector_grpc.serving import graph
from detector_grpc.serving.inputs import PICTURES, ImageInput
from detector_grpc.serving.session import OnnxFile, OnnxSession, TensorInfo
from detector_grpc.vision.tensor import ColorOrder, DimensionOrder, DType, TensorFormat

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Numbers = tuple[float, tuple[float, float, float], tuple[float, float, float]]

AS_THEY_ARE: Numbers = (1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
WITHOUT_MEAN: list[Numbers] = [
    (1 / 255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    (1 / 255, (0.0, 0.0, 0.0), (0.229, 0.224, 0.225)),
]
WITH_MEAN: list[Numbers] = [
    (1 / 255, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    (1.0, (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)),
]
CODES = BUNDLED_MODELS / "codes" / "v1" / "model.onnx"
TYPES = {"float32": "float", "float16": "float16", "uint8": "uint8"}
KERNEL = np.random.default_rng(1).normal(0, 1, (4, 3, 3, 3)).astype(np.float32)
CONVOLUTION = "out = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image, kernel)"


def pictures(count: int = 1, height: int = 5, width: int = 7) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def by_formula(samples: np.ndarray, numbers: TensorFormat) -> np.ndarray:
    """What a model takes for pictures, uint8 (N, H, W, 3), RGB."""
    planes = [
        (samples[..., "RGB".index(color)].astype(np.float64) * numbers.scale - numbers.mean[place]) / numbers.std[place]
        for place, color in enumerate(numbers.color_order)
    ]
    return np.stack(planes, axis=1 if numbers.dimension_order == "NCHW" else 3).astype(numbers.dtype)


def net(
    body: str,
    numbers: TensorFormat,
    weights: Mapping[str, np.ndarray] | None = None,
    *,
    sizes: tuple[object, object, object] = ("n", "h", "w"),
    outputs: str | None = None,
    opset: int = 17,
    ir_version: int = 8,
) -> bytes:
    """A model as ONNX text, from `image` to `out`."""
    batch, height, width = sizes
    shape = f"{batch}, 3, {height}, {width}" if numbers.dimension_order == "NCHW" else f"{batch}, {height}, {width}, 3"
    kind = TYPES[numbers.dtype]
    model = onnx.parser.parse_model(
        f'<ir_version: {ir_version}, opset_import: ["": {opset}]> '
        f"net ({kind}[{shape}] image) => ({outputs or f'{kind}[a, b, c, d] out'}) {{{body}}}"
    )
    for name, value in (weights or {}).items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
        if ir_version < 4:  # where each is an input as well
            info = onnx.helper.make_tensor_value_info(name, model.graph.initializer[-1].data_type, value.shape)
            model.graph.input.append(info)
    return model.SerializeToString()


def run(model: bytes, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, feeds)


def operators(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_model_from_string(model).graph.node]


def assert_the_same(model: bytes, numbers: TensorFormat, samples: np.ndarray | None = None) -> bytes:
    """That the model, taking pictures, answers the same; it."""
    samples = pictures() if samples is None else samples
    taking = graph.fold(model, "image", numbers, samples.shape[1:3])
    answers = run(taking, {PICTURES: samples})
    for answer, expected in zip(answers, run(model, {"image": by_formula(samples, numbers)}), strict=True):
        assert answer.dtype == expected.dtype
        rounding = 2e-3 if numbers.dtype == "float16" else 1e-5
        span = float(np.abs(expected.astype(np.float64)).max())
        np.testing.assert_allclose(answer, expected, rtol=rounding, atol=span * rounding)
    return taking


@pytest.mark.parametrize("dimension_order", get_args(DimensionOrder))
@pytest.mark.parametrize("color_order", get_args(ColorOrder))
@pytest.mark.parametrize(
    ("dtype", "how"),
    [
        *itertools.product(("float32", "float16"), (AS_THEY_ARE, *WITHOUT_MEAN, *WITH_MEAN)),
        ("uint8", AS_THEY_ARE),
    ],
)
def test_the_numbers_are_what_the_formula_says(
    dtype: DType, dimension_order: DimensionOrder, color_order: ColorOrder, how: Numbers
) -> None:
    numbers = TensorFormat(dtype, dimension_order, color_order, *how)
    assert_the_same(net("out = Identity (image)", numbers), numbers)


@pytest.mark.parametrize("color_order", get_args(ColorOrder))
@pytest.mark.parametrize("how", [AS_THEY_ARE, *WITHOUT_MEAN])
@pytest.mark.parametrize("ir_version", [3, 8])
def test_convolutions_take_over_scale_and_colour_order(color_order: ColorOrder, how: Numbers, ir_version: int) -> None:
    numbers = TensorFormat("float32", "NCHW", color_order, *how)
    model = net(CONVOLUTION, numbers, {"kernel": KERNEL}, ir_version=ir_version)
    taking = assert_the_same(model, numbers)
    assert not {"Mul", "Gather"} & set(operators(taking))


@pytest.mark.parametrize("how", WITH_MEAN)
def test_convolutions_do_not_take_over_a_mean_which_their_borders_would_lack(how: Numbers) -> None:
    numbers = TensorFormat("float32", "NCHW", "BGR", *how)
    taking = assert_the_same(net(CONVOLUTION, numbers, {"kernel": KERNEL}), numbers)
    assert {"Mul", "Add", "Gather"} <= set(operators(taking))


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        (f"{CONVOLUTION} mean = ReduceMean (image)", "float[a, b, c, d] out, float[e, f, g, h] mean"),
        (f"{CONVOLUTION}", "float[a, b, c, d] out, float[n, 3, h, w] image"),
        ("out = Conv (image, computed) computed = Identity (kernel)", None),
        (("flat = Constant <value_ints = [3, 1, 6, 6]> () own = Reshape (kernel, flat)"
         "grouped = Conv <group = 3> (image, own) out = Identity (grouped)"), None),
        (("side = Constant <value_ints = [4, 3, 3, 3]> () spread = Expand (image, side) "
         "one = Constant <value_floats = [1.0]> () shape = Constant <value_ints = [4, 3, 3, 3]> () "
         "many = Expand (one, shape) out = Conv (many, spread)"), None),
    ],
    ids=["and a mean", "and the caller", "weights that are computed", "groups", "as weights"],
)  # fmt: skip
def test_nothing_is_taken_over_where_something_else_sees_the_image(body: str, outputs: str | None) -> None:
    numbers = TensorFormat("float32", "NCHW", "BGR")
    kernel = KERNEL
    samples = None
    if "own" in body:
        kernel = np.resize(KERNEL, (3, 1, 6, 6))
        samples = pictures(1, 9, 9)
    if "spread" in body:
        samples = pictures(1, 3, 3)
    model = net(body, numbers, {"kernel": kernel}, outputs=outputs)
    taking = assert_the_same(model, numbers, samples)
    assert {"Mul", "Gather"} <= set(operators(taking))


def test_a_branch_sees_what_it_saw() -> None:
    numbers = TensorFormat("float32", "NCHW", "BGR")
    body = """
        yes = Constant <value_int = 1> ()
        bool = Cast <to = 9> (yes)
        out = If <
            then_branch = then () => (float[a, b, c, d] first) { first = Conv (image, kernel) },
            else_branch = otherwise () => (float[a, b, c, d] second) { second = Identity (image) }
        > (bool)
    """
    assert_the_same(net(body, numbers, {"kernel": KERNEL}), numbers)


def test_convolutions_of_something_else_keep_the_weights_that_they_share() -> None:
    numbers = TensorFormat("float32", "NCHW", "BGR")
    square = np.random.default_rng(1).normal(0, 1, (3, 3, 1, 1)).astype(np.float32)
    body = (
        "first = Conv (image, kernel) second = Conv (image, kernel) sum = Add (first, second) out = Conv (sum, kernel)"
    )
    taking = assert_the_same(net(body, numbers, {"kernel": square}), numbers)
    assert "Mul" not in operators(taking)


def test_weights_of_half_precision_are_left_alone() -> None:
    # Divided by 255, weights below 0.0156 would not be normal numbers any more.
    numbers = TensorFormat("float16")
    small = (KERNEL * 1e-3).astype(np.float16)
    taking = assert_the_same(net(CONVOLUTION, numbers, {"kernel": small}), numbers)
    assert "Mul" in operators(taking)


@pytest.mark.parametrize("opset", [7, 13, 21])
@pytest.mark.parametrize("sizes", [("n", "h", "w"), ("n", 5, 7), (2, 5, 7)])
@pytest.mark.parametrize("dimension_order", get_args(DimensionOrder))
def test_pictures_have_their_size_and_batches_that_of_the_file(
    sizes: tuple[object, object, object], dimension_order: DimensionOrder, opset: int
) -> None:
    numbers = TensorFormat("float32", dimension_order, "BGR", *WITH_MEAN[1])
    model = net("out = Relu (image)", numbers, sizes=sizes, opset=opset)
    taking = assert_the_same(model, numbers, pictures(2))
    (info,) = onnxruntime.InferenceSession(taking, providers=["CPUExecutionProvider"]).get_inputs()
    assert (info.name, info.type, info.shape) == (PICTURES, "tensor(uint8)", [sizes[0], 5, 7, 3])


def test_other_inputs_and_metadata_stay() -> None:
    numbers = TensorFormat()
    model = onnx.load_model_from_string(net("out = Add (image, more)", numbers))
    model.graph.input.insert(0, onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1]))
    onnx.helper.set_model_props(model, {"names": "[]"})
    taking = onnx.load_model_from_string(graph.fold(model.SerializeToString(), "image", numbers, (5, 7)))
    assert [each.name for each in taking.graph.input] == ["more", PICTURES]
    assert taking.metadata_props == model.metadata_props


positive = st.floats(1e-3, 10)
any_number = st.floats(-100, 100)


@given(
    numbers=st.builds(
        TensorFormat,
        st.just("float32"),
        st.sampled_from(get_args(DimensionOrder)),
        st.sampled_from(get_args(ColorOrder)),
        positive,
        st.one_of(st.just((0.0, 0.0, 0.0)), st.tuples(any_number, any_number, any_number)),
        st.tuples(positive, positive, positive),
    ),
    sizes=st.tuples(st.integers(1, 3), st.integers(3, 20), st.integers(3, 20)),
    sees=st.sampled_from(["out = Identity (image)", CONVOLUTION]),
)
@settings(deadline=None)
def test_any_numbers_of_any_pictures(numbers: TensorFormat, sizes: tuple[int, int, int], sees: str) -> None:
    body = sees
    if numbers.dimension_order == "NHWC":
        body = "planes = Transpose <perm = [0, 3, 1, 2]> (image) " + sees.replace("(image", "(planes")
    assert_the_same(net(body, numbers, {"kernel": KERNEL}), numbers, pictures(*sizes))


def test_weights_beside_the_file_are_found(tmp_path: Path) -> None:
    numbers = TensorFormat(color_order="BGR")
    onnx.save(
        onnx.load_model_from_string(net(CONVOLUTION, numbers, {"kernel": KERNEL})),
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    assert (tmp_path / "weights.bin").stat().st_size == KERNEL.nbytes
    file = OnnxFile(tmp_path / "model.onnx")
    (expected,) = file.run({"image": by_formula(pictures(), numbers)}, ["out"])
    (found,) = file.taking(ImageInput("image", (5, 7), tensor_format=numbers)).run({PICTURES: pictures()}, ["out"])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_file_stays_as_it_is_and_so_does_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    shutil.copyfile(CODES, path)
    file = OnnxFile(path)
    taking = file.taking(ImageInput("images", (256, 256)))
    assert path.read_bytes() == CODES.read_bytes()
    assert isinstance(taking, OnnxSession)
    signature = taking.signature(file.signature.digest)
    assert signature.inputs == (TensorInfo(PICTURES, "uint8", (None, 256, 256, 3)),)
    assert signature.outputs == file.signature.outputs
