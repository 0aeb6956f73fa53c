"""Positions in pictures. (0, 0) is the outer corner of the first pixel, (width, height) that of the last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[Any]  # a homography, 3 x 3


def corners(x1: float, y1: float, x2: float, y2: float) -> NDArray[np.float32]:
    """Return the corners of a box, clockwise from the top left, as float32 [4, 2]."""
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)


def bounds(points: NDArray[Any]) -> NDArray[np.float32]:
    """Return the smallest upright box around points [n, 2], as float32 x1, y1, x2, y2."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float32)


def project(points: NDArray[np.float32], matrix: Matrix) -> NDArray[np.float32]:
    """Move points, float32 [n, 2], by a 3 x 3 homography."""
    return np.asarray(cv2.perspectiveTransform(points[None], matrix)[0], np.float32)


def shift(x: float, y: float) -> Matrix:
    """Return the homography that moves everything by pixels."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def warp(
    image: NDArray[Any], matrix: Matrix, width: int, height: int, border: int = cv2.BORDER_CONSTANT, fill: int = 0
) -> NDArray[Any]:
    """Warp an image by a homography; `border` is OpenCV's word for what lies outside of it, `fill` a constant there."""
    half = shift(0.5, 0.5)  # OpenCV puts (0, 0) into the middle of the first pixel
    shifted = np.linalg.inv(half) @ matrix @ half
    return cv2.warpPerspective(
        image, shifted, (width, height), flags=cv2.INTER_LINEAR, borderMode=border, borderValue=(fill,) * 3
    )
