"""How well a network detects in pictures that it never learnt from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from detector_grpc.coco import read_annotations
from detector_grpc.evaluation.reference import evaluate
from detector_grpc.vision.detections import Detections
from detector_grpc.vision.nms import suppress

if TYPE_CHECKING:
    from pathlib import Path

    from libreyolo.models.yolo9.nn import LibreYOLO9Model

LEAST_CONFIDENCE = 0.005
IOU_THRESHOLD = 0.5
MOST_BOXES = 100
BATCH = 8


class Validation:
    """A part of drawn pictures, which are square.

    Args:
        folder: With `annotations.json` and `images`.
        device: Where the network is.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._annotations = read_annotations(folder / "annotations.json")
        self._files = {key: folder / "images" / name for key, name in self._annotations.pictures.items()}
        self._device = device

    def average_precision(self, network: LibreYOLO9Model, side: int) -> dict[str, float]:
        """Return AP50 of each class and, under `mean`, their mean, for pictures shown at `side` px."""
        found: dict[int, Detections] = {}
        keys = list(self._files)
        for first in range(0, len(keys), BATCH):
            found |= self._look(network, keys[first : first + BATCH], side)
        precision = evaluate(self._annotations, found).precision[0].mean(axis=0)
        by_class = dict(zip(self._annotations.categories, precision.tolist(), strict=True))
        return {"mean": float(precision.mean()), **by_class}

    @torch.no_grad()
    def _look(self, network: LibreYOLO9Model, keys: list[int], side: int) -> dict[int, Detections]:
        pictures, scale = [], 1.0
        for key in keys:
            image = cv2.imread(str(self._files[key]), cv2.IMREAD_COLOR_RGB)
            if image is None:
                raise OSError(f"cannot read {self._files[key]}")
            scale = len(image) / side
            pictures.append(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))
        batch = torch.from_numpy(np.stack(pictures)).to(self._device).permute(0, 3, 1, 2).float() / 255
        outputs = network(batch.contiguous(memory_format=torch.channels_last))["predictions"].float().cpu().numpy()
        found = {}
        for key, output in zip(keys, outputs, strict=True):
            boxes, scores = output[:4].T * scale, output[4:].T
            confidence = scores.max(axis=1)
            some = np.flatnonzero(confidence > LEAST_CONFIDENCE)
            class_id = scores[some].argmax(axis=1).astype(np.int32)
            candidates = Detections(boxes[some].astype(np.float32), confidence[some], class_id)
            found[key] = suppress(candidates, IOU_THRESHOLD, class_agnostic=True, max_detections=MOST_BOXES)
        return found
