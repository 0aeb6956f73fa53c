"""Pixels to bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2

if TYPE_CHECKING:
    from cv2.typing import MatLike

JPEG_QUALITY = 90
MAX_JPEG_SIDE_PX = 65500  # libjpeg writes no larger ones

# What is tried in turn where a picture must have room somewhere.
_QUALITIES = (JPEG_QUALITY, 70, 50, 30)


def encode_jpeg(bgr: MatLike, quality: int = JPEG_QUALITY) -> bytes:
    """A JPEG file.

    Args:
        bgr: uint8 (H, W, 3), BGR, or (H, W), grey; each side in [1, MAX_JPEG_SIDE_PX].
        quality: Range [1, 100].
    """
    _, file = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return file.tobytes()


def encode_jpeg_within(bgr: MatLike, max_bytes: int) -> bytes:
    """As `encode_jpeg`, of the best quality with which the file has at most `max_bytes`; else of the lowest."""
    file = b""
    for quality in _QUALITIES:
        file = encode_jpeg(bgr, quality)
        if len(file) <= max_bytes:
            break
    return file
