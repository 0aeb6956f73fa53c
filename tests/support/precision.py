"""Average precision by pycocotools, the reference implementation."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from detector_grpc._gen.detector.v1.detection_pb2 import Detection

# At this overlap a box counts as found.
IOU = 0.5


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

    def mean_ap50(self, found: dict[int, Iterable[Detection]]) -> float:
        """Mean over the classes of the average precision at IoU 0.5, 101 points, at most 100 boxes a picture.

        Args:
            found: Detections by the id of the picture.
        """
        results = [
            {
                "image_id": picture,
                "category_id": self._categories[detection.class_name],
                "bbox": [
                    detection.bbox.x_min,
                    detection.bbox.y_min,
                    detection.bbox.x_max - detection.bbox.x_min,
                    detection.bbox.y_max - detection.bbox.y_min,
                ],
                "score": detection.confidence,
            }
            for picture, detections in found.items()
            for detection in detections
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self._truth, self._truth.loadRes(results), "bbox")
            evaluation.params.iouThrs = np.array([IOU])
            evaluation.params.maxDets = [100]
            evaluation.evaluate()
            evaluation.accumulate()
        precision = evaluation.eval["precision"][0, :, :, 0, 0]  # (recall points, classes), whole area range
        return float(precision[:, (precision >= 0).all(axis=0)].mean())
