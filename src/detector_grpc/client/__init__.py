"""The Python SDK: find objects in pictures with a detector-grpc server, blocking or with asyncio.

    with Detector("localhost:50051") as detector:
        result = detector.detect("bus.jpg", confidence_threshold=0.5)
        for detection in result:
            print(detection.class_name, detection.confidence, detection.bbox)

Nothing here is ever tried twice: whether a failed call is worth another try is the caller's decision, for which
`CallFailed` has `code`, `reason` and `retry_after_s`.
"""

from __future__ import annotations

from detector_grpc.client.aio import AsyncDetector
from detector_grpc.client.detector import Detector
from detector_grpc.client.draw import draw
from detector_grpc.client.errors import CallFailed
from detector_grpc.client.models import ModelVersion
from detector_grpc.client.options import DetectOptions
from detector_grpc.client.pictures import Color, Picture
from detector_grpc.client.results import Detection, DetectionResult, Timing
from detector_grpc.rpc.transport import TlsFiles

__all__ = [
    "AsyncDetector",
    "CallFailed",
    "Color",
    "DetectOptions",
    "Detection",
    "DetectionResult",
    "Detector",
    "ModelVersion",
    "Picture",
    "Timing",
    "TlsFiles",
    "draw",
]
