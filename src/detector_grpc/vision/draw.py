"""Draws boxes into a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from detector_grpc.vision.tensor import ColorOrder

Rgb = tuple[int, int, int]

# Saturated but not glaring, neighbours far apart in hue: close ids often appear together.
_PALETTE: tuple[Rgb, ...] = (
    (230, 57, 70),
    (42, 157, 143),
    (244, 162, 97),
    (69, 123, 217),
    (233, 196, 40),
    (155, 93, 229),
    (106, 176, 76),
    (241, 91, 181),
    (0, 187, 249),
    (200, 110, 60),
    (95, 75, 182),
    (0, 138, 94),
    (255, 140, 120),
    (120, 200, 190),
    (176, 42, 110),
    (150, 150, 40),
)
_BLACK: Rgb = (0, 0, 0)
_WHITE: Rgb = (255, 255, 255)
_DARKEST_BELOW_BLACK = 140  # luma of a background on which black is still the better text

_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Width of a line, as a share of the picture's mean side.
_LINE_SHARE = 0.003
# Scale of the font for a line of 1 px, and the scale below which letters cannot be told apart.
_FONT_SCALE_PER_LINE_PX = 0.25
_MIN_FONT_SCALE = 0.4


class LabelledBox(NamedTuple):
    """What is drawn of one object.

    Attributes:
        xyxy: (x_min, y_min, x_max, y_max) in pixels of the picture.
        class_id: Chooses the colour.
        class_name: Part of the label, as is:
        confidence: Range [0, 1]; None where a person has seen it.
        track_id: Identity along a stream, which then chooses the colour; None for none.
    """

    xyxy: tuple[float, float, float, float]
    class_id: int
    class_name: str
    confidence: float | None
    track_id: int | None = None


@dataclass(frozen=True)
class _Style:
    """What all boxes and labels of one picture share.

    Attributes:
        color: Order of the channels.
        line_px: Width of lines.
        font_scale: Size of the letters.
        weight: Strength of the letters.
    """

    color: ColorOrder
    line_px: int
    font_scale: float
    weight: int

    @classmethod
    def of(cls, canvas: NDArray[np.uint8], color: ColorOrder) -> _Style:
        line_px = max(1, round(sum(canvas.shape[:2]) / 2 * _LINE_SHARE))
        return cls(color, line_px, max(_MIN_FONT_SCALE, _FONT_SCALE_PER_LINE_PX * line_px), max(1, line_px // 3))

    def paint(self, rgb: Rgb) -> Rgb:
        return rgb if self.color == "RGB" else (rgb[2], rgb[1], rgb[0])

    def text_size(self, text: str, scale: float) -> tuple[int, int, int]:
        """Width, ascent and descent in pixels; the height is that of tall letters, so that all labels are alike."""
        (width, _), _ = cv2.getTextSize(text, _FONT, scale, self.weight)
        (_, ascent), descent = cv2.getTextSize("Äy", _FONT, scale, self.weight)
        return width, ascent, descent


def draw_boxes(image: NDArray[np.uint8], boxes: Sequence[LabelledBox], color: ColorOrder = "RGB") -> NDArray[np.uint8]:
    """Draws boxes with class name, track id and confidence; the first ones lie on top, labels above all boxes.

    Colours tell objects that are followed apart, all others by class.

    Args:
        image: uint8 (H, W, 3), upright. Not changed.
        boxes: What was found in it, most confident first.
        color: Order of the channels of `image`.

    Returns:
        uint8 (H, W, 3), in the same order.
    """
    canvas = image.copy(order="C")
    style = _Style.of(canvas, color)
    last_first = boxes[::-1]
    corners = [_draw_box(canvas, box, style) for box in last_first]
    for box, corner in zip(last_first, corners, strict=True):
        _draw_label(canvas, box, corner, style)
    return canvas


def _draw_box(canvas: NDArray[np.uint8], box: LabelledBox, style: _Style) -> tuple[int, int]:
    """Draws the outline, within the picture to its full width; returns its top left corner."""
    height, width = canvas.shape[:2]
    inset = style.line_px // 2
    x_min, y_min, x_max, y_max = (round(edge) for edge in box.xyxy)
    left, top = min(max(x_min, inset), width - 1), min(max(y_min, inset), height - 1)
    right, bottom = max(min(x_max, width) - 1 - inset, left), max(min(y_max, height) - 1 - inset, top)
    cv2.rectangle(canvas, (left, top), (right, bottom), style.paint(_fill(box)), style.line_px)
    return left - inset, top - inset


def _draw_label(canvas: NDArray[np.uint8], box: LabelledBox, corner: tuple[int, int], style: _Style) -> None:
    """Draws the label above the box, or where there is no room, inside of it; always within the picture."""
    height, width = canvas.shape[:2]
    identity = "" if box.track_id is None else f" #{box.track_id}"
    confidence = "" if box.confidence is None else f" {box.confidence:.2f}"
    text = f"{box.class_name}{identity}{confidence}"
    scale, margin = style.font_scale, 1 + style.line_px
    text_width, ascent, descent = style.text_size(text, scale)
    if (room := max(width - 2 * margin, 1)) < text_width:
        scale *= room / text_width
        text_width, ascent, descent = style.text_size(text, scale)
    label_width, label_height = text_width + 2 * margin, ascent + descent + 2 * margin
    left, top = max(min(corner[0], width - label_width), 0), corner[1] - label_height
    if top < 0:
        top = max(min(corner[1], height - label_height), 0)
    fill = _fill(box)
    canvas[top : top + label_height, left : left + label_width] = style.paint(fill)
    at = left + margin, top + margin + ascent
    cv2.putText(canvas, text, at, _FONT, scale, _legible_on(fill), style.weight, cv2.LINE_AA)


def _fill(box: LabelledBox) -> Rgb:
    number = box.class_id if box.track_id is None else box.track_id
    return _PALETTE[number % len(_PALETTE)]


def _legible_on(fill: Rgb) -> Rgb:
    """Black or white, whichever contrasts more (luma of ITU-R BT.601)."""
    red, green, blue = fill
    return _BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > _DARKEST_BELOW_BLACK else _WHITE
