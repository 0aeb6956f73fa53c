"""The stages that every peer serves: this project's own pipeline, on the same model, as it runs in its own server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2

from detector_grpc import configured, settings
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage
from detector_grpc.serving.registry import open_version
from detector_grpc.serving.session import OnnxFile

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = "v1"


def bundled_detect() -> Callable[[bytes], dict[str, Any]]:
    """What finds objects in a JPEG, on the calling thread, and says where as plain values."""
    cv2.setNumThreads(1)
    demo = settings.load({"demo": True})
    source = next(source for source in configured.model_sources(demo).scan() if source.version == VERSION)
    loaded = open_version(source, OnnxFile, demo.limits.max_pixels)

    def detect(data: bytes) -> dict[str, Any]:
        found = loaded.pipeline.detect(EncodedImage(data), RequestedOptions()).detections
        return {
            "boxes": found.xyxy.tolist(),
            "confidences": found.confidence.tolist(),
            "classes": found.class_id.tolist(),
        }

    return detect
