"""Draws detections into a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from detector_grpc.client.pictures import Color
    from detector_grpc.client.results import Detection, DetectionResult

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


@dataclass(frozen=True)
class _Style:
    """What all boxes and labels of one picture share.

    Attributes:
        color: Order of the channels.
        line_px: Width of lines.
        font_scale: Size of the letters.
        weight: Strength of the letters.
    """

    color: Color
    line_px: int
    font_scale: float
    weight: int

    @classmethod
    def of(cls, canvas: NDArray[np.uint8], color: Color) -> _Style:
        line_px = max(1, round(sum(canvas.shape[:2]) / 2 * _LINE_SHARE))
        return cls(color, line_px, max(_MIN_FONT_SCALE, _FONT_SCALE_PER_LINE_PX * line_px), max(1, line_px // 3))

    def paint(self, rgb: Rgb) -> Rgb:
        return rgb if self.color == "RGB" else (rgb[2], rgb[1], rgb[0])

    def text_size(self, text: str, scale: float) -> tuple[int, int, int]:
        """Width, ascent and descent in pixels; the height is that of tall letters, so that all labels are alike."""
        (width, _), _ = cv2.getTextSize(text, _FONT, scale, self.weight)
        (_, ascent), descent = cv2.getTextSize("Äy", _FONT, scale, self.weight)
        return width, ascent, descent


def draw(image: NDArray[np.uint8], result: DetectionResult, color: Color = "RGB") -> NDArray[np.uint8]:
    """Draws boxes with class name, track id and confidence; the most confident lie on top, labels above all boxes.

    Colours tell objects that are followed apart, all others by class.

    Args:
        image: uint8 (H, W, 3), upright, of size `result.image_wh`. Not changed.
        result: What was found in it.
        color: Order of the channels of `image`.

    Returns:
        uint8 (H, W, 3), in the same order.
    """
    canvas = image.copy(order="C")
    style = _Style.of(canvas, color)
    least_confident_first = list(result)[::-1]
    corners = [_draw_box(canvas, detection, style) for detection in least_confident_first]
    for detection, corner in zip(least_confident_first, corners, strict=True):
        _draw_label(canvas, detection, corner, style)
    return canvas


def _draw_box(canvas: NDArray[np.uint8], detection: Detection, style: _Style) -> tuple[int, int]:
    """Draws the outline, within the picture to its full width; returns its top left corner."""
    height, width = canvas.shape[:2]
    inset = style.line_px // 2
    x_min, y_min, x_max, y_max = (round(edge) for edge in detection.bbox)
    left, top = min(max(x_min, inset), width - 1), min(max(y_min, inset), height - 1)
    right, bottom = max(min(x_max, width) - 1 - inset, left), max(min(y_max, height) - 1 - inset, top)
    cv2.rectangle(canvas, (left, top), (right, bottom), style.paint(_fill(detection)), style.line_px)
    return left - inset, top - inset


def _draw_label(canvas: NDArray[np.uint8], detection: Detection, corner: tuple[int, int], style: _Style) -> None:
    """Draws the label above the box, or where there is no room, inside of it; always within the picture."""
    height, width = canvas.shape[:2]
    identity = "" if detection.track_id is None else f" #{detection.track_id}"
    text = f"{detection.class_name}{identity} {detection.confidence:.2f}"
    scale, margin = style.font_scale, 1 + style.line_px
    text_width, ascent, descent = style.text_size(text, scale)
    if (room := max(width - 2 * margin, 1)) < text_width:
        scale *= room / text_width
        text_width, ascent, descent = style.text_size(text, scale)
    label_width, label_height = text_width + 2 * margin, ascent + descent + 2 * margin
    left, top = max(min(corner[0], width - label_width), 0), corner[1] - label_height
    if top < 0:
        top = max(min(corner[1], height - label_height), 0)
    fill = _fill(detection)
    canvas[top : top + label_height, left : left + label_width] = style.paint(fill)
    at = left + margin, top + margin + ascent
    cv2.putText(canvas, text, at, _FONT, scale, _legible_on(fill), style.weight, cv2.LINE_AA)


def _fill(detection: Detection) -> Rgb:
    number = detection.class_id if detection.track_id is None else detection.track_id
    return _PALETTE[number % len(_PALETTE)]


def _legible_on(fill: Rgb) -> Rgb:
    """Black or white, whichever contrasts more (luma of ITU-R BT.601)."""
    red, green, blue = fill
    return _BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > _DARKEST_BELOW_BLACK else _WHITE
