"""Makes parts of a picture unrecognisable."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# So few cells of a side show no face and no number plate.
_CELLS = 5
# Boxes are a little too small as often as too large; this share of each side is added to it.
_MARGIN = 0.2


def redact(image: NDArray[np.uint8], xyxy: NDArray[np.float32]) -> None:
    """Replaces boxes, and a margin around them, by a few cells of their mean colours, in place.

    Args:
        image: uint8 (H, W, 3), writable.
        xyxy: float32 (N, 4), in its pixels.
    """
    height, width = image.shape[:2]
    for left, top, right, bottom in xyxy.tolist():
        across, down = (right - left) * _MARGIN / 2, (bottom - top) * _MARGIN / 2
        rows = slice(max(0, math.floor(top - down)), min(height, math.ceil(bottom + down)))
        columns = slice(max(0, math.floor(left - across)), min(width, math.ceil(right + across)))
        part = image[rows, columns]
        if part.size:
            cells = cv2.resize(part, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
            shape_wh = part.shape[1], part.shape[0]
            image[rows, columns] = cv2.resize(cells, shape_wh, interpolation=cv2.INTER_NEAREST)
