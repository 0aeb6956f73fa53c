"""How a picture becomes what a model takes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from detector_grpc.errors import ModelInvalid
from detector_grpc.vision.letterbox import Letterbox, Resize
from detector_grpc.vision.tensor import ColorOrder, DimensionOrder, DType, TensorFormat, Triple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from detector_grpc.serving.session import Signature, TensorInfo

CHANNELS = 3

# The input of every session that answers calls: uint8 (N, H, W, 3), RGB.
PICTURES = "detector_grpc.pictures"


@dataclass(frozen=True)
class ImageInput:
    """Everything about the way from pixels to the model's inputs.

    Attributes:
        name: Name of the input that takes the picture.
        hw: Its size, model px.
        resize: How the picture is made to fit.
        pad_value: Value of all samples of the padding. Range [0, 255].
        tensor_format: The numbers that the samples become.
        size: The input that asks for the size to which boxes are scaled; None if there is none.
    """

    name: str
    hw: tuple[int, int]
    resize: Resize = "letterbox"
    pad_value: int = 114
    tensor_format: TensorFormat = TensorFormat()  # noqa: RUF009 - frozen
    size: TensorInfo | None = None

    def fit(self, image_wh: tuple[int, int]) -> Letterbox:
        """Where a picture of this size lies in the input."""
        return Letterbox.fit(image_wh, self.hw, self.resize)

    def feeds(self, canvas: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """All inputs for a picture, uint8 (*hw, 3), RGB."""
        return {PICTURES: canvas[None], **_size_feed(self.size, self.hw)}


class Slot(NamedTuple):
    """The input that takes a picture, as far as the file itself tells.

    Attributes:
        name: Its name.
        hw: Its size, model px.
        hw_reason: What told the size.
        dtype: Its type.
        dimension_order: Order of its dimensions.
        size: The input that asks for the size to which boxes are scaled, as RT-DETR's `orig_target_sizes`.
    """

    name: str
    hw: tuple[int, int]
    hw_reason: str
    dtype: DType
    dimension_order: DimensionOrder
    size: TensorInfo | None

    def blank(self) -> dict[str, NDArray[Any]]:
        """All inputs for a black picture."""
        shape = (1, CHANNELS, *self.hw) if self.dimension_order == "NCHW" else (1, *self.hw, CHANNELS)
        return {self.name: np.zeros(shape, self.dtype), **_size_feed(self.size, self.hw)}


class Trained(NamedTuple):
    """How models of one family are trained to see pictures, where neither manifest nor file says."""

    resize: Resize = "letterbox"
    color_order: ColorOrder = "RGB"
    scale: float = 1 / 255
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)


def find_slot(signature: Signature, asked_hw: tuple[int, int] | None) -> Slot:
    """Finds the image among the inputs.

    Args:
        signature: The model file.
        asked_hw: Size that the manifest sets, for files that leave it open.

    Raises:
        ModelInvalid: There is none, more than one or another that we cannot fill, or its size stays open.
    """
    seen = ", ".join(map(str, signature.inputs))
    images = [(each, order) for each in signature.inputs if (order := _dimension_order(each)) is not None]
    others = [each for each in signature.inputs if _dimension_order(each) is None]
    sizes = [each for each in others if len(each.shape) == 2 and each.shape[1] == 2]  # noqa: PLR2004
    if len(images) != 1 or len(others) > 1 or others != sizes:
        raise ModelInvalid(
            "a detector has one image input, float32, float16 or uint8, [1 or open, 3, height, width] or "
            f"[1 or open, height, width, 3], and at most one for the size of the picture; this has {seen}"
        )
    ((image, order),) = images
    height, width = image.shape[2:] if order == "NCHW" else image.shape[1:3]
    hw, reason = _size(height, width, asked_hw, signature.metadata)
    return Slot(image.name, hw, reason, cast("DType", image.dtype), order, sizes[0] if sizes else None)


def _dimension_order(tensor: TensorInfo) -> DimensionOrder | None:
    """The order of an image's dimensions; None for what is no image."""
    if tensor.dtype not in ("float32", "float16", "uint8"):
        return None
    match tensor.shape:
        case (1 | None, int(channels), _, _) if channels == CHANNELS:
            return "NCHW"
        case (1 | None, _, _, int(channels)) if channels == CHANNELS:
            return "NHWC"
    return None


def _size_feed(size: TensorInfo | None, hw: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """What is told of the picture's size: that of the input, so that boxes come out in model px, as of other models."""
    height, width = hw
    return {} if size is None else {size.name: np.array([[width, height]], size.dtype)}


def _size(
    height: int | None, width: int | None, asked_hw: tuple[int, int] | None, metadata: Mapping[str, str]
) -> tuple[tuple[int, int], str]:
    if asked_hw is not None:
        for side, asked in zip((height, width), asked_hw, strict=True):
            if side not in (None, asked):
                raise ModelInvalid(f"input.size is {list(asked_hw)}, the file fixes {[height, width]}")
        return asked_hw, "manifest.yaml"
    if height is not None and width is not None:
        return (height, width), "the input's shape"
    for keys in (("imgsz_h", "imgsz_w"), ("imgsz", "imgsz")):
        sides = [_side(metadata.get(key, ""), index) for index, key in enumerate(keys)]
        if sides[0] and sides[1]:
            return (sides[0], sides[1]), f"metadata {keys[0]}"
    raise ModelInvalid("the file leaves the size of its input open: set `input.size: [height, width]` in manifest.yaml")


def _side(text: str, index: int) -> int:
    """A side from "640" or, by its index, from "[480, 640]"; 0 if it is neither."""
    try:
        value = json.loads(text)
    except ValueError:
        return 0
    if isinstance(value, list) and len(value) > index:
        value = value[index]
    return value if isinstance(value, int) and value > 0 else 0
