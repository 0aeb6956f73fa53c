"""The value that flows from head to answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Detections:
    """N boxes as parallel arrays. The frame of reference is said by whoever hands them over.

    Attributes:
        xyxy: float32 (N, 4), rows (x_min, y_min, x_max, y_max).
        confidence: float32 (N,), range [0, 1].
        class_id: int32 (N,).
    """

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.confidence)

    def take(self, index: NDArray[np.intp]) -> Detections:
        """The boxes at `index`, integers (M,), in that order."""
        return Detections(self.xyxy[index], self.confidence[index], self.class_id[index])

    def best(self, most: int) -> Detections:
        """At most so many, the most confident ones, most confident first; the order of equals stays."""
        return self.take(np.argsort(-self.confidence, kind="stable")[:most])

    @classmethod
    def empty(cls) -> Detections:
        """No boxes."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))
