"""Pixels to numbers, against the formula written out."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pytest

from detector_grpc.vision.tensor import ColorOrder, DimensionOrder, DType, TensorFormat, to_tensor

CANVAS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


Numbers = tuple[float, tuple[float, float, float], tuple[float, float, float]]

AS_THEY_ARE: Numbers = (1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
FRACTIONS: list[Numbers] = [
    (1 / 255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    (1 / 255, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    (1.0, (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)),
]


@pytest.mark.parametrize("dimension_order", get_args(DimensionOrder))
@pytest.mark.parametrize("color_order", get_args(ColorOrder))
@pytest.mark.parametrize(
    ("dtype", "numbers"),
    [*itertools.product(("float32", "float16"), (AS_THEY_ARE, *FRACTIONS)), ("uint8", AS_THEY_ARE)],
)
def test_the_tensor_holds_what_the_formula_says(
    dtype: DType,
    dimension_order: DimensionOrder,
    color_order: ColorOrder,
    numbers: Numbers,
) -> None:
    scale, mean, std = numbers
    tensor = to_tensor(CANVAS, TensorFormat(dtype, dimension_order, color_order, scale, mean, std))
    assert tensor.dtype == dtype
    assert tensor.flags.c_contiguous
    assert tensor.shape == ((1, 3, 5, 7) if dimension_order == "NCHW" else (1, 5, 7, 3))
    planes = tensor[0] if dimension_order == "NCHW" else tensor[0].transpose(2, 0, 1)
    for place, channel in enumerate(color_order):
        expected = (CANVAS[:, :, "RGB".index(channel)] * scale - mean[place]) / std[place]
        np.testing.assert_allclose(planes[place], expected, rtol=2e-3 if dtype == "float16" else 1e-5, atol=2e-3)


def test_the_canvas_is_not_changed_and_not_kept() -> None:
    before = CANVAS.copy()
    tensor = to_tensor(CANVAS, TensorFormat("uint8", "NHWC", scale=1.0))
    np.testing.assert_array_equal(CANVAS, before)
    np.testing.assert_array_equal(tensor[0], before)
