"""How unsure a model was of a picture, by all boxes that it took for possible, also those too doubtful to be answered.

Boxes that overlap are what the model saw of one object from several places: they form a cluster, and a cluster counts
as one possible object, as confident as its most confident box. A measure is a way to look at these objects; each is in
[0, 1], and 0 where there are none. p is an object's confidence, t the threshold from which on it is answered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from detector_grpc.vision.boxes import iou_matrix, overlap_by
from detector_grpc.vision.heads.head import FLOOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from detector_grpc.vision.heads.head import Candidates

# What is looked at, the most confident ones, so that a model that is unsure of everything takes no longer.
MOST_CANDIDATES = 64

# Boxes that overlap by as much show the same object.
SAME_OBJECT_IOU = 0.5


@dataclass(frozen=True)
class Uncertainty:
    """How unsure a model was of a picture.

    Attributes:
        score: 0 sure, 1 unsure. Range [0, 1].
        driver: Name of the measure that the score comes from; empty where there was nothing to be unsure of.
        measures: Every measure that was taken, by name. Range [0, 1].
    """

    score: float
    driver: str
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Objects:
    """K possible objects, most confident first. Few, so that plain numbers are faster than arrays.

    Attributes:
        candidates: The boxes of the picture.
        index: intp (N,), those that are looked at, most confident first.
        best: Place in `index` of the most confident box of each object.
        confidence: p of each, at most 1 whatever the model says.
        threshold: t of each.
    """

    candidates: Candidates
    index: NDArray[np.intp]
    best: list[int]
    confidence: list[float]
    threshold: list[float]

    def __iter__(self) -> Iterator[tuple[float, float]]:
        """Both of each."""
        return zip(self.confidence, self.threshold, strict=True)

    @cached_property
    def evidence(self) -> list[float]:
        """How near each is to being answered: p / t, at most 1."""
        return [min(p / t, 1.0) for p, t in self]

    @property
    def runner_up(self) -> list[float]:
        """Confidence of the second best class of each."""
        second: list[float] = self.candidates.runners_up(self.index[self.best]).tolist()
        return [min(p2, p) for p2, p in zip(second, self.confidence, strict=True)]

    @property
    def scatter(self) -> list[float]:
        """How far the boxes of each cluster lie apart, range [0, 1].

        1 - the mean overlap of the others with the most confident one, weighted by their confidence, as a share of
        what it can be in a cluster.
        """
        boxes = self.candidates.boxes.take(self.index)
        overlap = np.nan_to_num(iou_matrix(boxes.xyxy[self.best], boxes.xyxy))
        weight = (overlap.argmax(axis=0) == np.arange(len(self.best))[:, None]) * (overlap >= SAME_OBJECT_IOU)
        weight = weight * np.minimum(boxes.confidence, 1)
        weight[np.arange(len(self.best)), self.best] = 0
        total = weight.sum(axis=1)
        mean = np.divide((weight * overlap).sum(axis=1), total, out=np.ones_like(total), where=total > 0)
        scattered: list[float] = np.clip((1 - mean) / (1 - SAME_OBJECT_IOU), 0, 1).tolist()
        return scattered


def find_objects(candidates: Candidates, thresholds: NDArray[np.float32]) -> Objects:
    """The possible objects in a picture.

    Args:
        candidates: Boxes that reach FLOOR, and perhaps others.
        thresholds: float32 (number of classes,): confidence from which on a box is answered; infinity for classes that
            are not wanted.
    """
    boxes = candidates.boxes
    threshold = thresholds[boxes.class_id]
    possible = (boxes.confidence >= FLOOR) & (threshold < np.inf)
    index = np.argsort(-boxes.confidence, kind="stable")
    if not possible.all():
        index = index[possible[index]]
    index = index[:MOST_CANDIDATES]
    best = _most_confident(overlap_by(boxes.xyxy[index], SAME_OBJECT_IOU)) if len(index) > 1 else [0] * len(index)
    places = index[best]
    return Objects(
        candidates,
        index,
        best,
        [min(p, 1.0) for p in boxes.confidence[places].tolist()],
        [max(t, FLOOR) for t in threshold[places].tolist()],
    )


def _most_confident(same: NDArray[np.bool_]) -> list[int]:
    """Which of N boxes are of no cluster of one before them; `same`, bool (N, N), has which overlap.

    The greedy choice of non-maximum suppression, on numbers with a bit for each box; OpenCV's takes twice as long for
    so few of them.
    """
    rows = np.packbits(same, axis=1, bitorder="little")
    width, data = rows.shape[1], rows.tobytes()
    free, best = -1, []
    for place in range(len(same)):
        if free >> place & 1:
            best.append(place)
            free &= ~int.from_bytes(data[place * width : (place + 1) * width], "little")
    return best


def least_confidence(objects: Objects) -> float:
    """That of the least sure object: 1 - p of one that is answered (Lewis and Gale 1994; for boxes Brust et al. 2019).

    Below the threshold (1 - t) p / t: as unsure as can be at t, and ever less so the less speaks for it.
    """
    return max(1 - p if p >= t else (1 - t) * p / t for p, t in objects)


def margin(objects: Objects) -> float:
    """How close the second best class comes to the best, of the object where it comes closest: p2 / p.

    Scheffer et al. (2001) have the difference; the ratio does not depend on how likely any object is. Of objects that
    are not answered it counts by p / t. 0 where the model tells one class only.
    """
    each = zip(objects.evidence, objects.runner_up, objects.confidence, strict=True)
    return max(evidence * second / p for evidence, second, p in each)


def entropy(objects: Objects) -> float:
    """Mean entropy of the objects being there or not, in bits: - p log p - (1 - p) log(1 - p) (Settles 2009)."""
    each = [-p * math.log2(p) - (1 - p) * math.log2(1 - p) if p < 1 else 0.0 for p in objects.confidence]
    return sum(each) / len(each)


def localisation(objects: Objects) -> float:
    """How far the boxes of a cluster lie apart, mean of the objects by p / t (after Kao et al. 2018).

    0 where clusters have one box: where the model has non-maximum suppression in its graph, or needs none.
    """
    weighted = [weight * apart for weight, apart in zip(objects.evidence, objects.scatter, strict=True)]
    return sum(weighted) / sum(objects.evidence)


def near_threshold(objects: Objects) -> float:
    """How many objects are near the threshold, those at it counting one, those at 0 or 1 nothing: n / (n + 1)."""
    count = sum((1 - p) / (1 - t) if t <= p < 1 else p / t if p < t else 0.0 for p, t in objects)
    return count / (count + 1)


def expected_error(objects: Objects) -> float:
    """Share of the objects, answered or missed, that the answer is expected to have wrong, if p is how often it is so.

    An answered object is there p times, and one that is not answered was missed p times. So this is 1 - the sum of p of
    the answered ones / (their number + the sum of p of the others): 1 - the Jaccard index of what was answered and what
    is there. Of a single object it is 1 - p, of several 1 - their mean p where nothing was missed. Where nothing is
    answered it is how likely something was missed.
    """
    answered = [p for p, t in objects if p >= t]
    missed = [p for p, t in objects if p < t]
    if not answered:
        return 1 - math.prod(1 - p for p in missed)
    return 1 - sum(answered) / (len(answered) + sum(missed))


MEASURES: dict[str, Callable[[Objects], float]] = {
    measure.__name__: measure
    for measure in (least_confidence, margin, entropy, localisation, near_threshold, expected_error)
}


class Measures:
    """How unsure a model is of a picture: the largest of some measures, each times its weight.

    Args:
        weights: Of the measures, by name. Range (0, 1].
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = dict(weights)

    @classmethod
    def of(cls, words: Iterable[str]) -> Measures:
        """Those of words such as "margin", or "margin:0.5" for half its weight.

        Raises:
            ValueError: There is no such measure, or a weight is none.
        """
        return cls(dict(map(_weighted, words)))

    def __call__(self, candidates: Candidates, thresholds: NDArray[np.float32]) -> Uncertainty:
        """Looks at a picture; arguments as of `find_objects`."""
        objects = find_objects(candidates, thresholds) if len(candidates.boxes) else None
        if objects is None or not objects.best:
            return Uncertainty(0.0, "", dict.fromkeys(self._weights, 0.0))
        values = {
            name: min(max(MEASURES[name](objects), 0.0), 1.0) for name in self._weights
        }  # rounding aside, they are
        driver = max(values, key=lambda name: values[name] * self._weights[name])
        return Uncertainty(values[driver] * self._weights[driver], driver, values)


DEFAULT_MEASURES = Measures({"expected_error": 1.0})


def _weighted(word: str) -> tuple[str, float]:
    name, _, weight = word.partition(":")
    if name not in MEASURES:
        raise ValueError(f"there is no measure {name!r}; there are {', '.join(MEASURES)}")
    try:
        value = float(weight or 1)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:  # false for NaN, too
        raise ValueError(f"the weight of {name} must be in (0, 1], got {weight}")
    return name, value
