"""Pixels to the numbers that a model takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DType = Literal["float32", "float16", "uint8"]
DimensionOrder = Literal["NCHW", "NHWC"]
ColorOrder = Literal["RGB", "BGR"]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class TensorFormat:
    """How a model was trained to see pixels: `(sample * scale - mean) / std`, channel by channel.

    Attributes:
        dtype: Type of the tensor.
        dimension_order: Order of its dimensions: batch, channels, height, width or batch, height, width, channels.
        color_order: Order of its channels.
        scale: Factor for samples in [0, 255]; 1/255 for models that take [0, 1].
        mean: What is subtracted from the scaled samples, in the order of the channels.
        std: What the rest is divided by, in the order of the channels. Not 0.
    """

    dtype: DType = "float32"
    dimension_order: DimensionOrder = "NCHW"
    color_order: ColorOrder = "RGB"
    scale: float = 1 / 255
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)

    @property
    def is_plain(self) -> bool:
        """Whether samples go in as they are."""
        return (self.scale, *self.mean, *self.std) == (1, 0, 0, 0, 1, 1, 1)

    @cached_property
    def factor(self) -> NDArray[np.float32]:
        """What every sample is multiplied by, float32, by channel; broadcasts over one picture."""
        return self._by_channel(self.scale / np.asarray(self.std))

    @cached_property
    def shift(self) -> NDArray[np.float32]:
        """What is added then, float32, by channel; broadcasts over one picture."""
        return self._by_channel(-np.asarray(self.mean) / np.asarray(self.std))

    def _by_channel(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        if not np.ptp(values):  # one number for all is several times as fast
            values = values[:1]
        return values.astype(np.float32).reshape((-1, 1, 1) if self.dimension_order == "NCHW" else (1, 1, -1))


def to_tensor(canvas: NDArray[np.uint8], tensor_format: TensorFormat) -> NDArray[Any]:
    """Makes a tensor of a picture.

    Args:
        canvas: uint8 (H, W, 3), RGB.
        tensor_format: What the model takes.

    Returns:
        (1, 3, H, W) or (1, H, W, 3) of the format's dtype, contiguous.
    """
    picture = canvas if tensor_format.color_order == "RGB" else canvas[:, :, ::-1]
    if tensor_format.dimension_order == "NCHW":
        picture = picture.transpose(2, 0, 1)
    if tensor_format.is_plain:
        return np.ascontiguousarray(picture[None], tensor_format.dtype)
    tensor = np.empty((1, *picture.shape), np.float32)
    np.multiply(picture, tensor_format.factor, out=tensor[0])
    if tensor_format.shift.any():
        tensor += tensor_format.shift
    return tensor.astype(tensor_format.dtype, copy=False)
