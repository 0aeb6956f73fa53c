"""Heads: one function per output layout, from a model's raw outputs to candidate boxes in model px.

`dense` has those whose boxes overlap and go through non-maximum suppression, `final` those that leave nothing to
suppress.
"""

from __future__ import annotations

from typing import Literal

from detector_grpc.vision.heads import dense, final
from detector_grpc.vision.heads.head import Head

HeadName = Literal[
    "cxcywh",
    "xyxy",
    "yolov5",
    "yolox",
    "end_to_end",
    "efficient_nms",
    "detr",
    "detr_softmax",
    "labels_boxes_scores",
]

HEADS: dict[HeadName, Head] = {
    "cxcywh": Head(dense.cxcywh, suppressed=False),
    "xyxy": Head(dense.xyxy, suppressed=False),
    "yolov5": Head(dense.yolov5, suppressed=False),
    "yolox": Head(dense.yolox, suppressed=False),
    "end_to_end": Head(final.end_to_end, suppressed=True),
    "efficient_nms": Head(final.efficient_nms, suppressed=True),
    "detr": Head(final.detr, suppressed=True),
    "detr_softmax": Head(final.detr_softmax, suppressed=True),
    "labels_boxes_scores": Head(final.labels_boxes_scores, suppressed=True),
}
