"""How detections are chosen, as a caller says it and as an answer reports it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detector_grpc._gen.detector.v1 import detection_pb2

# Digits that a float32 between 0 and 1 can be trusted for; without rounding 0.7 would be shown as 0.699999988079071.
_DIGITS = 6


class DetectOptions(TypedDict, total=False):
    """How detections are chosen. What is left out, or None, is the default of the model version.

    Attributes:
        confidence_threshold: Lowest confidence of a detection. Range [0, 1].
        class_confidence_thresholds: Lowest confidence by class name, instead of `confidence_threshold`.
        iou_threshold: Highest overlap (intersection over union) of two detections. Range [0, 1].
        classes: Names of the classes to return; empty for all.
        multi_label: Whether one box may be returned under several classes.
        class_agnostic_nms: Whether overlapping detections of different classes suppress each other.
        max_detections: Most detections to return, the most confident ones. Range [1, 1000].
    """

    confidence_threshold: float | None
    class_confidence_thresholds: Mapping[str, float] | None
    iou_threshold: float | None
    classes: Sequence[str]
    multi_label: bool | None
    class_agnostic_nms: bool | None
    max_detections: int | None


def options_of(message: detection_pb2.DetectOptions) -> DetectOptions:
    """Reads the options that a server says it used or uses; plain values, ready for JSON."""
    return DetectOptions(
        confidence_threshold=round(message.confidence_threshold, _DIGITS),
        class_confidence_thresholds={
            name: round(threshold, _DIGITS) for name, threshold in message.class_confidence_thresholds.items()
        },
        iou_threshold=round(message.iou_threshold, _DIGITS),
        classes=list(message.classes),
        multi_label=message.multi_label,
        class_agnostic_nms=message.class_agnostic_nms,
        max_detections=message.max_detections,
    )
