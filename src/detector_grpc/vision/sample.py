"""What is kept of a picture to see how it looks: little enough to be copied while somebody waits for the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE_PX = 160

# Details are taken in so many rows and columns, since an object may fill any one of them.
_ROWS = 3
_DETAIL_PX = 48
# JPEG's blocks are so wide; details begin and end with one.
BLOCK_PX = 8


class PictureSample(NamedTuple):
    """A picture, small. RGB, upright.

    Attributes:
        thumbnail: uint8 (h, w, 3), neither side over 160 px: the whole picture.
        details: uint8 (9, n, n, 3), n 16, 32 or 48: squares of it, evenly spread, in the pixels that were decoded. Of
            pictures under 48 px there are none.
    """

    thumbnail: NDArray[np.uint8]
    details: NDArray[np.uint8]


def sample(image: NDArray[np.uint8]) -> PictureSample:
    """Shrinks a picture, and cuts details out of it; all are copies.

    Args:
        image: uint8 (H, W, 3), RGB, upright.
    """
    return PictureSample(_thumbnail(image), _details(image))


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    # Averaging all of a large picture takes milliseconds; the mean of every n-th pixel is as good for statistics.
    step = max(1, max(height, width) // (2 * SIDE_PX))
    thinned_wh = max(1, width // step), max(1, height // step)
    thinned = image if step == 1 else cv2.resize(image, thinned_wh, interpolation=cv2.INTER_NEAREST)
    scale = min(1.0, SIDE_PX / max(thinned_wh))
    small_wh = [max(1, round(side * scale)) for side in thinned_wh]
    return np.array(cv2.resize(thinned, small_wh, interpolation=cv2.INTER_AREA), np.uint8)


def _details(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    even = 2 * BLOCK_PX  # so that half of it is whole blocks, too
    side = min(_DETAIL_PX, min(height, width) // _ROWS // even * even)
    if not side:
        return np.empty((0, 0, 0, 3), np.uint8)
    tops, lefts = (
        [whole * (2 * row + 1) // (2 * _ROWS) // BLOCK_PX * BLOCK_PX - side // 2 for row in range(_ROWS)]
        for whole in (height, width)
    )
    return np.stack([image[top : top + side, left : left + side] for top in tops for left in lefts])
