"""Arithmetic on boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cxcywh_to_xyxy(cxcywh: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centre and size to corners; float32 (N, 4) both."""
    center, half = cxcywh[:, :2], cxcywh[:, 2:] / 2
    return np.concatenate([center - half, center + half], axis=1)


def overlap_by(xyxy: NDArray[np.float32], iou: float) -> NDArray[np.bool_]:
    """Which of all pairs of boxes overlap by more than so much, in a third of the time of `iou_matrix`.

    Args:
        xyxy: float32 (N, 4).
        iou: Intersection over union. Range [0, 1].

    Returns:
        bool (N, N).
    """
    left, top, right, bottom = np.ascontiguousarray(xyxy.T)
    shared = np.minimum(right, right[:, None])  # its width, then times its height
    shared -= np.maximum(left, left[:, None])
    np.maximum(shared, 0, out=shared)
    height = np.minimum(bottom, bottom[:, None])
    height -= np.maximum(top, top[:, None])
    np.maximum(height, 0, out=height)
    shared *= height
    # i / (a + b - i) > iou is i > iou / (1 + iou) * (a + b), which takes no division.
    share = (right - left) * (bottom - top) * np.float32(iou / (1 + iou))
    overlapping: NDArray[np.bool_] = shared > share + share[:, None]
    return overlapping


def iou_matrix(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of every pair.

    Args:
        a: float32 (N, 4), xyxy.
        b: float32 (M, 4), xyxy, in the same frame of reference.

    Returns:
        float32 (N, M), range [0, 1]; 0 where both boxes are empty.
    """
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared: NDArray[np.float32] = np.clip(sides, 0, None).prod(axis=2)
    areas_a, areas_b = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b))
    union = areas_a[:, None] + areas_b[None, :] - shared
    overlaps = np.zeros_like(shared)
    np.divide(shared, union, out=overlaps, where=union > 0)
    return overlaps
