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
