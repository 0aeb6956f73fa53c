"""The stages that every peer serves: this project's own pipeline, prepared as in its own server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2

from detector_grpc.serving.memory import use_one_heap
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage
from detector_grpc.serving.registry import open_version
from detector_grpc.serving.repository import Sources
from detector_grpc.serving.session import OnnxFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAX_PIXELS = 50_000_000


def only_model(repository: Path) -> Callable[[bytes], dict[str, Any]]:
    """What finds objects in a JPEG by the only model of a repository, on the calling thread, as plain values."""
    use_one_heap()
    cv2.setNumThreads(1)
    (source,) = Sources([repository]).scan()
    pipeline = open_version(source, OnnxFile, MAX_PIXELS).pipeline

    def detect(data: bytes) -> dict[str, Any]:
        found = pipeline.detect(EncodedImage(data), RequestedOptions()).detections
        return {
            "boxes": found.xyxy.tolist(),
            "confidences": found.confidence.tolist(),
            "classes": found.class_id.tolist(),
        }

    return detect
