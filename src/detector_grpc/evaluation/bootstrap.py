"""How far a metric could differ with other pictures of the same kind: drawing the pictures again, many times.

Which detections are true does not depend on the other pictures, so it is found out once. A drawing is then nothing but
how often each picture counts, and its average precision that of detections with these weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detector_grpc.evaluation.reference import ClassMatches

CONFIDENCE_LEVEL = 0.95
RECALLS = np.linspace(0, 1, 101)

# Numbers that one step may hold: 128 MiB of them.
_MOST_NUMBERS = 1 << 18


@dataclass(frozen=True)
class Interval:
    """Between these lies the value in 95 of 100 drawings."""

    low: float
    high: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Interval:
        """That of the values (R,) of R drawings; NaN stands for a drawing without anything to find."""
        tail = (1 - CONFIDENCE_LEVEL) / 2
        low, high = np.nanquantile(values, [tail, 1 - tail])
        return cls(float(low), float(high))


def draw_pictures(pictures: int, resamples: int, seed: int) -> NDArray[np.int32]:
    """How often each picture is drawn, int32 (resamples, pictures), each row `pictures` drawings with replacement."""
    shares = np.full(pictures, 1 / pictures)
    return np.random.default_rng(seed).multinomial(pictures, shares, resamples).astype(np.int32)


def mean_average_precision(classes: Sequence[ClassMatches], weights: NDArray[np.int32]) -> NDArray[np.float64]:
    """The mean over the classes that are there, by drawing and by IoU.

    Args:
        classes: Matches of each class.
        weights: int32 (R, P), how often each of the P pictures counts.

    Returns:
        float64 (R, 10) at IoU .5, .55, …, .95. Range [0, 1]. NaN for drawings without anything to find.
    """
    by_class = np.stack([average_precision(matches, weights) for matches in classes])
    with np.errstate(invalid="ignore"):  # 0 / 0: nothing is there
        return np.asarray(np.nansum(by_class, axis=0) / np.count_nonzero(~np.isnan(by_class), axis=0))


def average_precision(matches: ClassMatches, weights: NDArray[np.int32]) -> NDArray[np.float64]:
    """That of one class; arguments and return value else as of `mean_average_precision`."""
    boxes = weights @ matches.boxes
    result = np.zeros((len(weights), len(matches.is_true)))
    step = max(1, _MOST_NUMBERS // max(1, len(matches.picture)))
    masks = np.unique(matches.is_ignored, axis=0) if len(matches.picture) else ()
    of_mask = [np.flatnonzero((matches.is_ignored == mask).all(axis=1)) for mask in masks]
    for rows in (slice(first, first + step) for first in range(0, len(weights), step)):
        drawn = weights[rows][:, matches.picture]
        for mask, ious in zip(masks, of_mask, strict=True):
            judged = np.cumsum(drawn * ~mask, axis=1, dtype=np.int32)
            for iou in ious:
                places = np.flatnonzero(matches.is_true[iou])
                true = np.cumsum(drawn[:, places], axis=1, dtype=np.int32)
                result[rows, iou] = _area(true, judged[:, places], boxes[rows])
    result[boxes == 0] = np.nan
    return result


def _area(true: NDArray[np.int32], judged: NDArray[np.int32], boxes: NDArray[np.intp]) -> NDArray[np.float64]:
    """Mean over RECALLS of the best precision at that recall or a higher one, (R,).

    Args:
        true: (R, N), true detections up to each of the N true ones; between these, recall stays and precision falls.
        judged: (R, N), all detections up to the same that are true or false.
        boxes: (R,), objects to find.
    """
    precision = true / np.maximum(judged, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = np.searchsorted(RECALLS, true / np.maximum(boxes, 1)[:, None], side="right")
    return np.asarray((best * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(RECALLS))
