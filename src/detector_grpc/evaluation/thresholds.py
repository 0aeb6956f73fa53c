"""At which confidence a class is best told from everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from detector_grpc.evaluation.reference import ClassMatches

DIGITS = 3


@dataclass(frozen=True)
class OperatingPoint:
    """What a threshold gives at IoU .5. All in [0, 1].

    Attributes:
        confidence_threshold: Lowest confidence.
        precision: Share of the detections that are true.
        recall: Share of the marked objects that are found.
        f1: Harmonic mean of the two.
    """

    confidence_threshold: float
    precision: float
    recall: float
    f1: float


def best_threshold(matches: ClassMatches, lowest: float) -> OperatingPoint | None:
    """The threshold of the highest F1; of several the one in the middle, farthest from where it gets worse.

    Args:
        matches: Those of one class.
        lowest: Lowest confidence that was looked at.

    Returns:
        None where no detection is true.
    """
    grid = np.arange(np.ceil(round(lowest * 10**DIGITS, DIGITS)), 10**DIGITS + 1) / 10**DIGITS
    reached = np.searchsorted(-matches.confidence, -grid.astype(np.float32), side="right")
    judged = np.append(0, np.cumsum(~matches.is_ignored[0]))[reached]
    true = np.append(0, np.cumsum(matches.is_true[0]))[reached]
    boxes = matches.boxes.sum()
    f1 = 2 * true / np.maximum(judged + boxes, 1)
    if not f1.any():
        return None
    equals = np.flatnonzero(f1 == f1.max())
    best = equals[len(equals) // 2]
    return OperatingPoint(
        float(grid[best]), float(true[best] / judged[best]), float(true[best] / boxes), float(f1[best])
    )
