"""What every head is, and the choice of boxes by threshold that they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from detector_grpc.vision.detections import Detections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Less confident boxes are background: dense heads have thousands of them in every picture.
FLOOR = 0.05


@dataclass(frozen=True)
class Candidates:
    """N boxes that a head found.

    Attributes:
        boxes: They, in model px, in no particular order.
        column: intp (N,), place of each in `scores`.
        scores: float32 (number of classes, M), the confidence of every class; None where the model has told only one.
    """

    boxes: Detections
    column: NDArray[np.intp]
    scores: NDArray[np.float32] | None

    def runners_up(self, index: NDArray[np.intp]) -> NDArray[np.float32]:
        """Highest confidence of another class for the boxes at `index`, integers (M,); 0 where only one was told."""
        if self.scores is None:
            return np.zeros(len(index), np.float32)
        others = self.scores[:, self.column[index]]
        others[self.boxes.class_id[index], np.arange(len(index))] = 0
        best: NDArray[np.float32] = others.max(axis=0, initial=0)
        return best


class Decode(Protocol):
    """Reads the outputs of one picture."""

    def __call__(
        self,
        outputs: Sequence[NDArray[np.float32]],
        thresholds: NDArray[np.float32],
        input_hw: tuple[int, int],
        *,
        multi_label: bool,
        doubtful: int = 0,
    ) -> Candidates:
        """Finds candidates.

        Args:
            outputs: The model's outputs without their batch dimension, in the order that the head says.
            thresholds: float32 (number of classes,): lowest confidence at which a box counts; infinity for classes
                that are not wanted.
            input_hw: Size of the model's input, model px.
            multi_label: True: a box counts for every class whose threshold it reaches. False: only for its best class.
                Where the model has chosen the class itself, this changes nothing.
            doubtful: Most boxes to return beside those that count, for their best class: the most confident of those
                that reach FLOOR, whatever their class.

        Returns:
            Candidates. Boxes that are not finite are left out; computing with what is no number makes numpy warn,
            unless the caller has switched that off.
        """


class Head(NamedTuple):
    """An output layout.

    Attributes:
        decode: Reads it.
        suppressed: Whether nothing is left to suppress: the model was trained to find each object once, or has
            non-maximum suppression in its graph.
    """

    decode: Decode
    suppressed: bool


class Choice(NamedTuple):
    """N boxes that were chosen by their scores.

    Attributes:
        place: intp (N,), which boxes of the model.
        confidence: float32 (N,).
        class_id: intp (N,).
        column: As Candidates.column.
        scores: As Candidates.scores.
    """

    place: NDArray[np.intp]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.intp]
    column: NDArray[np.intp]
    scores: NDArray[np.float32] | None


def choose(scores: NDArray[np.float32], thresholds: NDArray[np.float32], *, multi_label: bool, doubtful: int) -> Choice:
    """Columns of scores, float32 (number of classes, N), that `Decode` is to return."""
    best = scores.max(axis=0)
    near = possible(best, thresholds, doubtful)
    looked_at = scores[:, near]
    class_id = looked_at.argmax(axis=0)
    column = np.arange(len(near))
    if multi_label:
        counts = looked_at >= thresholds[:, None]
        hopeless = ~counts.any(axis=0)
        counts[class_id[hopeless], column[hopeless]] = True
        class_id, column = np.nonzero(counts)
        confidence = looked_at[class_id, column]
    else:
        confidence = best[near]
    kept = reached(confidence, thresholds[class_id], doubtful)
    if len(kept) < len(confidence):
        confidence, class_id, column = confidence[kept], class_id[kept], column[kept]
    return Choice(near[column], confidence, class_id, column, looked_at)


def possible(bound: NDArray[np.float32], thresholds: NDArray[np.float32], doubtful: int) -> NDArray[np.intp]:
    """Which boxes `Decode` may have to return, by a bound of their confidences, float32 (N,)."""
    return reached(bound, thresholds.min(), doubtful)


def reached(
    confidence: NDArray[np.float32], threshold: NDArray[np.float32] | np.float32, doubtful: int
) -> NDArray[np.intp]:
    """Places in `confidence` that reach the threshold, and of the others the best `doubtful` that reach FLOOR."""
    if doubtful == 0:
        return np.flatnonzero(confidence >= threshold)
    near = np.flatnonzero(confidence >= np.minimum(threshold, np.float32(FLOOR)))
    if len(near) <= doubtful:
        return near
    below = np.flatnonzero((confidence < threshold)[near])
    if len(below) <= doubtful:
        return near
    worst = np.argpartition(confidence[near[below]], -doubtful)[:-doubtful]
    return np.delete(near, below[worst])


def candidates(boxes: NDArray[np.float32], choice: Choice) -> Candidates:
    """The chosen ones of which the box, xyxy (N, 4), and the confidence are finite."""
    confidence, class_id, column = choice.confidence, choice.class_id, choice.column
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(confidence)
    if not finite.all():
        boxes, confidence, class_id, column = boxes[finite], confidence[finite], class_id[finite], column[finite]
    return Candidates(
        Detections(
            boxes.astype(np.float32, copy=False), confidence.astype(np.float32, copy=False), class_id.astype(np.int32)
        ),
        column,
        choice.scores,
    )
