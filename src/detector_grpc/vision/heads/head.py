"""What every head is, and the choice of boxes by threshold that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from detector_grpc.vision.detections import Detections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Decode(Protocol):
    """Reads the outputs of one picture."""

    def __call__(
        self,
        outputs: Sequence[NDArray[np.float32]],
        thresholds: NDArray[np.float32],
        input_hw: tuple[int, int],
        *,
        multi_label: bool,
    ) -> Detections:
        """Finds candidates.

        Args:
            outputs: The model's outputs without their batch dimension, in the order that the head says.
            thresholds: float32 (number of classes,): lowest confidence at which a box counts; infinity for classes
                that are not wanted.
            input_hw: Size of the model's input, model px.
            multi_label: True: a box counts for every class whose threshold it reaches. False: only for its best class.
                Where the model has chosen the class itself, this changes nothing.

        Returns:
            Candidates in model px, in no particular order. Boxes that are not finite are left out; computing with what
            is no number makes numpy warn, unless the caller has switched that off.
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


def choose(
    scores: NDArray[np.float32], thresholds: NDArray[np.float32], *, multi_label: bool
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.intp]]:
    """Columns of scores, float32 (number of classes, N), that count, with their scores and classes."""
    if multi_label:
        class_id, index = np.nonzero(scores >= thresholds[:, None])
        return index, scores[class_id, index], class_id
    best = scores.max(axis=0)
    index = np.flatnonzero(best >= thresholds.min())
    class_id = scores[:, index].argmax(axis=0)
    confidence = best[index]
    reached = confidence >= thresholds[class_id]
    return index[reached], confidence[reached], class_id[reached]


def candidates(boxes: NDArray[np.float32], confidence: NDArray[np.float32], class_id: NDArray[np.intp]) -> Detections:
    """Those of the boxes, xyxy (N, 4), that are finite, as are their confidences."""
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(confidence)
    if not finite.all():
        boxes, confidence, class_id = boxes[finite], confidence[finite], class_id[finite]
    return Detections(
        boxes.astype(np.float32, copy=False), confidence.astype(np.float32, copy=False), class_id.astype(np.int32)
    )
