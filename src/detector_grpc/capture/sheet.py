"""Contact sheets: many samples in one picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from detector_grpc.vision.draw import LabelledBox, draw_boxes
from detector_grpc.vision.letterbox import Letterbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TILE_WH = (320, 240)

_CAPTION_PX = 22
_GAP_PX = 6
_PAPER, _INK = 245, 40
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.42


class Tile(NamedTuple):
    """One sample.

    Attributes:
        image: uint8 (H, W, 3), RGB, upright, at least as large as it will be shown.
        image_wh: Size of the picture whose pixels the boxes are in.
        boxes: What is drawn into it.
        caption: One line below it.
    """

    image: NDArray[np.uint8]
    image_wh: tuple[int, int]
    boxes: Sequence[LabelledBox]
    caption: str


def contact_sheet(tiles: Sequence[Tile], columns: int) -> NDArray[np.uint8]:
    """Tiles in rows from left to right, uint8 (H, W, 3), RGB."""
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    width, height = TILE_WH[0] + _GAP_PX, TILE_WH[1] + _CAPTION_PX + _GAP_PX
    sheet = np.full((rows * height + _GAP_PX, columns * width + _GAP_PX, 3), _PAPER, np.uint8)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        top, left = row * height + _GAP_PX, column * width + _GAP_PX
        sheet[top : top + TILE_WH[1], left : left + TILE_WH[0]] = _thumbnail(tile)
        baseline = (left, top + TILE_WH[1] + _CAPTION_PX - 7)
        cv2.putText(sheet, tile.caption, baseline, _FONT, _FONT_SCALE, (_INK, _INK, _INK), 1, cv2.LINE_AA)
    return sheet


def _thumbnail(tile: Tile) -> NDArray[np.uint8]:
    fit = Letterbox.fit(tile.image_wh, TILE_WH[::-1], "letterbox")
    xyxy = fit.to_model(np.array([box.xyxy for box in tile.boxes], np.float32).reshape(-1, 4)).tolist()
    moved = [box._replace(xyxy=tuple(edges)) for box, edges in zip(tile.boxes, xyxy, strict=True)]
    return draw_boxes(fit.apply(tile.image, _PAPER), moved)
