"""What makes a picture worth a label beside the model's own uncertainty: signals, each in [0, 1]."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np

from detector_grpc.vision.agreement import MIN_IOU
from detector_grpc.vision.boxes import iou_matrix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from detector_grpc.vision.agreement import Agreement, Labelled

T = TypeVar("T")

# With fewer pictures behind them all classes are rare.
MIN_PICTURES = 100


class ClassRarity:
    """How rare classes are among the pictures that were seen before."""

    def __init__(self) -> None:
        self._pictures = 0
        self._with: Counter[str] = Counter()

    def see(self, class_names: Iterable[str]) -> float:
        """That of the rarest class in a picture, which counts from now on.

        The inverse document frequency of Spärck Jones (1972), as a share of that of a class that was never seen:
        log((N + 1) / (n + 1)) / log(N + 1) of a class in n of N pictures.

        Returns:
            0 for a class that is in every picture, 1 for one that was in none; 0 for the first MIN_PICTURES.
        """
        names = set(class_names)
        rarity = 0.0
        if self._pictures >= MIN_PICTURES and names:
            fewest = min(self._with[name] for name in names)
            rarity = 1 - math.log(fewest + 1) / math.log(self._pictures + 1)
        self._pictures += 1
        self._with.update(names)
        return rarity


def disagreement(found: Agreement) -> float:
    """How far two versions differ over a picture: 1 - F1 of the boxes of one, with those of the other as the truth.

    Two models as the committee of Seung et al. (1992).

    Returns:
        0 where they find the same, or neither anything; 1 where no box is the same.
    """
    both = 2 * (found.agree + found.class_differs) + found.missed + found.extra
    return 1 - 2 * found.agree / both if both else 0.0


class Flickered(NamedTuple, Generic[T]):
    """A frame in which objects flickered or did not.

    Attributes:
        frame: What the caller knows it by.
        share: Share of its objects that did. Range [0, 1].
    """

    frame: T
    share: float


class Flicker(Generic[T]):
    """Finds frames of one stream in which an object is seen that is in neither neighbour, or missing that is in both.

    Such a frame holds an object that was missed, or something that was taken for one (Jin et al. 2018). It takes frames
    so close to one another that objects overlap themselves from each to the next.
    """

    def __init__(self) -> None:
        self._before: Labelled | None = None
        self._last: tuple[T, Labelled] | None = None

    def see(self, frame: T, found: Labelled) -> Flickered[T] | None:
        """Takes the next frame.

        Returns:
            The one before it, of which both neighbours are now known; None for the first two.
        """
        before, last = self._before, self._last
        self._last = frame, found
        if last is None:
            return None
        self._before = last[1]
        return None if before is None else Flickered(last[0], _flickered(before, last[1], found))


def _flickered(before: Labelled, frame: Labelled, after: Labelled) -> float:
    appeared = np.count_nonzero(~_in(frame, before) & ~_in(frame, after))
    vanished = np.count_nonzero(_in(before, after) & ~_in(before, frame))
    objects = len(frame.names) + vanished
    return float(appeared + vanished) / objects if objects else 0.0


def _in(found: Labelled, other: Labelled) -> NDArray[np.bool_]:
    """Which boxes lie on one of the same class in the other frame, bool (N,)."""
    same = np.asarray(found.names, object)[:, None] == np.asarray(other.names, object)[None, :]
    there: NDArray[np.bool_] = (same & (iou_matrix(found.xyxy, other.xyxy) >= MIN_IOU)).any(axis=1)
    return there
