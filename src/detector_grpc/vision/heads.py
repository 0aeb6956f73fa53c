"""Heads: one function per output layout, from the model's raw output to candidate boxes in model px.

Each takes the output of one picture and keeps what the thresholds let through; suppression of overlapping boxes comes
after. The arrays are large and most of their columns are background, so they are filtered in place of being transposed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from detector_grpc.vision.boxes import cxcywh_to_xyxy
from detector_grpc.vision.detections import Detections

if TYPE_CHECKING:
    from numpy.typing import NDArray

HeadName = Literal["cxcywh", "xyxy"]

BOX_ROWS = 4


class Head(Protocol):
    """What every head is; `cxcywh` says what the arguments are."""

    def __call__(
        self, output: NDArray[np.float32], thresholds: NDArray[np.float32], *, multi_label: bool
    ) -> Detections:
        """Candidates in model px."""


def cxcywh(output: NDArray[np.float32], thresholds: NDArray[np.float32], *, multi_label: bool) -> Detections:
    """Anchor-free layout of the usual YOLOv8, YOLOv9 and YOLO11 exports.

    Args:
        output: float32 (4 + number of classes, N): rows centre x, centre y, width, height in model px, then one
            probability in [0, 1] per class.
        thresholds: float32 (number of classes,): lowest probability at which a box counts; infinity for classes that
            are not wanted.
        multi_label: True: a box counts for every class whose threshold it reaches. False: only for its best class.

    Returns:
        Candidates in model px, in no particular order. Boxes that are not finite are left out.
    """
    index, confidence, class_id = _choose(output[BOX_ROWS:], thresholds, multi_label=multi_label)
    return _candidates(cxcywh_to_xyxy(output[:BOX_ROWS, index].T), confidence, class_id)


def xyxy(output: NDArray[np.float32], thresholds: NDArray[np.float32], *, multi_label: bool) -> Detections:
    """As `cxcywh`, with rows x_min, y_min, x_max, y_max: the layout of libreyolo's YOLOv9 exports."""
    index, confidence, class_id = _choose(output[BOX_ROWS:], thresholds, multi_label=multi_label)
    return _candidates(np.ascontiguousarray(output[:BOX_ROWS, index].T), confidence, class_id)


HEADS: dict[HeadName, Head] = {"cxcywh": cxcywh, "xyxy": xyxy}


def _choose(
    scores: NDArray[np.float32], thresholds: NDArray[np.float32], *, multi_label: bool
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.intp]]:
    """Columns of scores (number of classes, N) that count, with their scores and classes."""
    if multi_label:
        class_id, index = np.nonzero(scores >= thresholds[:, None])
        return index, scores[class_id, index], class_id
    best = scores.max(axis=0)
    index = np.flatnonzero(best >= thresholds.min())
    class_id = scores[:, index].argmax(axis=0)
    confidence = best[index]
    reached = confidence >= thresholds[class_id]
    return index[reached], confidence[reached], class_id[reached]


def _candidates(boxes: NDArray[np.float32], confidence: NDArray[np.float32], class_id: NDArray[np.intp]) -> Detections:
    finite = np.isfinite(boxes).all(axis=1)
    if not finite.all():
        boxes, confidence, class_id = boxes[finite], confidence[finite], class_id[finite]
    return Detections(boxes, confidence, class_id.astype(np.int32))
