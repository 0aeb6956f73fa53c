"""Whether two pictures show the same scene.

A fingerprint is the means of 16 x 16 blocks of luma (block mean hashing: Yang, Gu and Niu 2006). The means themselves
are kept, not whether each is above their median: a plain wall has all of them at the median, where noise would decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BLOCKS = 16
FINGERPRINT_BYTES = _BLOCKS**2

# Of each side, as many pixels as a block needs for noise to be averaged out.
FINGERPRINT_PX = 8 * _BLOCKS

# By so many levels of luma a block has changed; noise and compression change it by one or two.
_CHANGED = 10
# So many blocks may have changed: an object that fills a fiftieth of the picture changes more.
_MOST_CHANGED = 3


def fingerprint(image: NDArray[np.uint8]) -> bytes:
    """The fingerprint of a picture, FINGERPRINT_BYTES long.

    Args:
        image: uint8 (H, W, 3), RGB, upright; more than FINGERPRINT_PX on a side add nothing.
    """
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(luma, (_BLOCKS, _BLOCKS), interpolation=cv2.INTER_AREA).tobytes()


def is_near(one: bytes, others: Sequence[bytes]) -> bool:
    """Whether a picture shows the scene of one of the others, by their fingerprints, whatever the light as a whole."""
    if not others:
        return False
    known = np.frombuffer(b"".join(others), np.uint8).reshape(-1, FINGERPRINT_BYTES).astype(np.int16)
    difference = known - np.frombuffer(one, np.uint8)
    difference = difference - np.median(difference, axis=1, keepdims=True)
    return bool(((np.abs(difference) > _CHANGED).sum(axis=1) <= _MOST_CHANGED).any())
