"""Average precision by pycocotools, the reference implementation."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from detector_grpc._gen.detector.v1.detection_pb2 import Detection


class Found(NamedTuple):
    """One box: class, confidence, and x_min, y_min, x_max, y_max in pixels of the picture."""

    class_name: str
    confidence: float
    xyxy: tuple[float, float, float, float]

    @classmethod
    def of(cls, detection: Detection) -> Found:
        box = detection.bbox
        return cls(detection.class_name, detection.confidence, (box.x_min, box.y_min, box.x_max, box.y_max))


class Annotations:
    """Pictures with their true boxes, in COCO format.

    Args:
        path: The JSON file.
    """

    def __init__(self, path: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self._truth = COCO(str(path))
        self._categories = {category["name"]: category["id"] for category in self._truth.dataset["categories"]}
        self.pictures: dict[int, str] = {each["id"]: each["file_name"] for each in self._truth.dataset["images"]}

    def mean_ap(self, found: dict[int, Iterable[Found]]) -> float:
        """Mean over the classes and over IoU 0.5 to 0.95 of the average precision; else as `mean_ap50`."""
        return self._mean_precision(found, None)

    def mean_ap50(self, found: dict[int, Iterable[Found]]) -> float:
        """Mean over the classes of the average precision at IoU 0.5, 101 points, at most 100 boxes a picture.

        Args:
            found: Boxes by the id of the picture; those of classes without annotations do not count.
        """
        return self._mean_precision(found, 0.5)

    def _mean_precision(self, found: dict[int, Iterable[Found]], iou: float | None) -> float:
        results = [
            {
                "image_id": picture,
                "category_id": self._categories[each.class_name],
                "bbox": [each.xyxy[0], each.xyxy[1], each.xyxy[2] - each.xyxy[0], each.xyxy[3] - each.xyxy[1]],
                "score": each.confidence,
            }
            for picture, boxes in found.items()
            for each in boxes
            if each.class_name in self._categories
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self._truth, self._truth.loadRes(results), "bbox")
            if iou is not None:
                evaluation.params.iouThrs = np.array([iou])
            evaluation.params.maxDets = [100]
            evaluation.evaluate()
            evaluation.accumulate()
        precision = evaluation.eval["precision"][:, :, :, 0, 0]  # (IoUs, recall points, classes), whole area range
        return float(precision[:, :, (precision >= 0).all(axis=(0, 1))].mean())
