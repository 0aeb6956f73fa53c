"""Non-maximum suppression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from detector_grpc.vision.detections import Detections

# Candidates beyond these, the least confident ones, are dropped first: suppression takes quadratic time, and a caller
# who asks for confidence 0 of a model with 8400 x 80 scores must not hold a worker for seconds (4096: about 0.1 s).
MAX_CANDIDATES = 4096


def suppress(candidates: Detections, iou_threshold: float, *, class_agnostic: bool, max_detections: int) -> Detections:
    """Greedy non-maximum suppression: a box goes when a more confident one that stays overlaps it by more than allowed.

    Args:
        candidates: Boxes in any frame of reference.
        iou_threshold: Highest intersection over union of two boxes that both stay. Range [0, 1].
        class_agnostic: True: boxes of all classes compete. False: only those of the same class.
        max_detections: Most boxes to keep.

    Returns:
        The boxes that stay, most confident first; none of confidence 0.
    """
    boxes = candidates.best(MAX_CANDIDATES)
    if len(boxes) > 0:
        xywh: Any = boxes.xyxy.copy()
        xywh[:, 2:] -= xywh[:, :2]
        # OpenCV keeps classes apart by moving each to a place of its own, which takes that no coordinate is negative.
        xywh[:, :2] -= xywh[:, :2].min()
        confidence: Any = boxes.confidence  # OpenCV takes arrays, its type stubs know lists only
        class_id: Any = np.zeros_like(boxes.class_id) if class_agnostic else boxes.class_id
        kept = cv2.dnn.NMSBoxesBatched(xywh, confidence, class_id, 0.0, iou_threshold)
        boxes = boxes.take(np.sort(np.asarray(kept, np.intp))[:max_detections])
    return boxes
