"""Heads that leave nothing to suppress: every object has one box, or the graph has suppressed the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detector_grpc.vision.boxes import cxcywh_to_xyxy
from detector_grpc.vision.heads.head import Choice, candidates, choose, reached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detector_grpc.vision.heads.head import Candidates


def end_to_end(
    outputs: Sequence[NDArray[np.float32]],
    thresholds: NDArray[np.float32],
    input_hw: tuple[int, int],
    *,
    multi_label: bool,
    doubtful: int = 0,
) -> Candidates:
    """Layout of YOLOv10, YOLO26 and of libreyolo's `nms=True`; rows without an object have confidence 0.

    One array, rows first: x_min, y_min, x_max, y_max in model px, confidence, class_id, and what is not read. Else as
    `Decode`.
    """
    (output,) = outputs
    return _labelled(output[:4].T, output[4], output[5], thresholds, doubtful)


def efficient_nms(
    outputs: Sequence[NDArray[np.float32]],
    thresholds: NDArray[np.float32],
    input_hw: tuple[int, int],
    *,
    multi_label: bool,
    doubtful: int = 0,
) -> Candidates:
    """Layout of TensorRT's EfficientNMS plugin.

    Arrays: number of boxes (1,), boxes (K, 4) xyxy in model px, confidences (K,), class_ids (K,). Else as `Decode`.
    """
    count, boxes, confidence, class_id = outputs
    filled = np.arange(len(boxes)) < count.reshape(-1)[0]
    return _labelled(boxes[filled], confidence[filled], class_id[filled], thresholds, doubtful)


def labels_boxes_scores(
    outputs: Sequence[NDArray[np.float32]],
    thresholds: NDArray[np.float32],
    input_hw: tuple[int, int],
    *,
    multi_label: bool,
    doubtful: int = 0,
) -> Candidates:
    """Layout of RT-DETR, D-FINE and DEIM exports with their post-processor.

    Arrays: class_ids (N,), boxes (N, 4) xyxy in model px, confidences (N,). Else as `Decode`.
    """
    class_id, boxes, confidence = outputs
    return _labelled(boxes, confidence, class_id, thresholds, doubtful)


def detr(
    outputs: Sequence[NDArray[np.float32]],
    thresholds: NDArray[np.float32],
    input_hw: tuple[int, int],
    *,
    multi_label: bool,
    doubtful: int = 0,
) -> Candidates:
    """Layout of DETR-like exports without post-processor: RT-DETR of Transformers, RF-DETR.

    Arrays: boxes (N, 4), centre x, centre y, width, height as fractions of the input; logits (N, classes), of which the
    sigmoid is the confidence. Else as `Decode`.
    """
    boxes, logits = outputs
    scores = np.float32(1) / (np.float32(1) + np.exp(-logits))
    return _queries(boxes, scores, thresholds, input_hw, multi_label=multi_label, doubtful=doubtful)


def detr_softmax(
    outputs: Sequence[NDArray[np.float32]],
    thresholds: NDArray[np.float32],
    input_hw: tuple[int, int],
    *,
    multi_label: bool,
    doubtful: int = 0,
) -> Candidates:
    """As `detr`, with logits (N, classes + 1) whose softmax is the confidence, the last for "no object": plain DETR."""
    boxes, logits = outputs
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = (powers / powers.sum(axis=1, keepdims=True))[:, :-1]
    return _queries(boxes, scores, thresholds, input_hw, multi_label=multi_label, doubtful=doubtful)


def _queries(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    input_hw: tuple[int, int],
    *,
    multi_label: bool,
    doubtful: int,
) -> Candidates:
    choice = choose(scores.T, thresholds, multi_label=multi_label, doubtful=doubtful)
    height, width = input_hw
    return candidates(
        cxcywh_to_xyxy(boxes[choice.place] * np.array([width, height, width, height], np.float32)), choice
    )


def _labelled(
    boxes: NDArray[np.float32],
    confidence: NDArray[np.float32],
    class_id: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    doubtful: int,
) -> Candidates:
    """What `Decode` is to return of boxes that have one class each; confidence 0 marks unused rows."""
    known = (class_id >= 0) & (class_id < len(thresholds)) & (confidence > 0)  # false for NaN, too
    boxes, confidence, class_ids = boxes[known], confidence[known], class_id[known].astype(np.intp)
    kept = reached(confidence, thresholds[class_ids], doubtful)
    choice = Choice(kept, confidence[kept], class_ids[kept], np.arange(len(kept)), None)
    return candidates(boxes[kept], choice)
