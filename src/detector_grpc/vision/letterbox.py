"""Fits pictures of any size into a model's fixed input, and maps boxes back.

Two frames of reference, both with the origin at the outer corner of the top left pixel, so that a box may cover whole
pixels exactly:

- image px: the upright picture as decoded, `image_wh`;
- model px: the model's input, `input_hw`, in which the resized picture lies with padding around it.

The picture is scaled by one factor, the largest at which it fits, or stretched to the whole input. Its resized sides
must be whole pixels, so each is rounded on its own, and the mapping back divides by the ratio that was really used, for
x and y on its own: with one common factor a box at the far edge of a 4000 px picture would be off by several pixels.

Source of the procedure: YOLOv5's `letterbox` (scale, centred padding rounded down, grey value 114), which the YOLOv8,
YOLOv9 and YOLO11 exports were trained with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# With padding on both sides, with padding right and below, and without.
Resize = Literal["letterbox", "letterbox_topleft", "stretch"]


@dataclass(frozen=True)
class Letterbox:
    """How one picture lies in the model's input.

    Attributes:
        image_wh: Size of the picture, image px.
        resized_wh: Size of the picture in the input, model px.
        pad_xy: Where its top left corner is in the input, model px.
        input_hw: Size of the input, model px.
    """

    image_wh: tuple[int, int]
    resized_wh: tuple[int, int]
    pad_xy: tuple[int, int]
    input_hw: tuple[int, int]

    @classmethod
    def fit(cls, image_wh: tuple[int, int], input_hw: tuple[int, int], resize: Resize) -> Letterbox:
        """Computes where the picture goes; no side of it becomes less than one pixel."""
        (width, height), (input_height, input_width) = image_wh, input_hw
        if resize == "stretch":
            return cls(image_wh, (input_width, input_height), (0, 0), input_hw)
        scale = min(input_width / width, input_height / height)
        resized_width = min(max(round(width * scale), 1), input_width)
        resized_height = min(max(round(height * scale), 1), input_height)
        pad_x, pad_y = (input_width - resized_width) // 2, (input_height - resized_height) // 2
        pad_xy = (pad_x, pad_y) if resize == "letterbox" else (0, 0)
        return cls(image_wh, (resized_width, resized_height), pad_xy, input_hw)

    def apply(self, image: NDArray[np.uint8], pad_value: int) -> NDArray[np.uint8]:
        """Resizes and pads.

        Args:
            image: uint8 (H, W, 3), any colour order, of size `image_wh`, or reduced from that.
            pad_value: Value of all three channels around the picture. Range [0, 255].

        Returns:
            uint8 (*input_hw, 3), the same colour order.
        """
        (x, y), (width, height) = self.pad_xy, self.resized_wh
        canvas = np.empty((*self.input_hw, 3), np.uint8)
        canvas[:y], canvas[y + height :] = pad_value, pad_value
        window = canvas[y : y + height]
        window[:, :x], window[:, x + width :] = pad_value, pad_value
        window = window[:, x : x + width]
        if self.resized_wh == self.image_wh:
            window[:] = image
        else:
            cv2.resize(image, self.resized_wh, dst=window, interpolation=cv2.INTER_LINEAR)
        return canvas

    def to_model(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps boxes float32 (N, 4), xyxy, from image px to model px."""
        scale, offset = self._affine()
        return (xyxy * scale + offset).astype(np.float32)

    def to_image(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps boxes float32 (N, 4), xyxy, from model px to image px, clipped to the picture."""
        scale, offset = self._affine()
        boxes = (xyxy - offset) / scale
        np.maximum(boxes, 0, out=boxes)
        np.minimum(boxes, np.array(self.image_wh * 2, np.float64), out=boxes)
        return boxes.astype(np.float32)

    def _affine(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        scale_x, scale_y = (resized / side for resized, side in zip(self.resized_wh, self.image_wh, strict=True))
        return np.array([scale_x, scale_y, scale_x, scale_y]), np.array(self.pad_xy * 2, np.float64)
