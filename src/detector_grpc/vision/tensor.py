"""The numbers that a model takes for pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

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
