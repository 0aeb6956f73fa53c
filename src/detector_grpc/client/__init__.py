"""The Python SDK: find objects in pictures with a detector-grpc server, blocking or with asyncio.

    with Detector("localhost:50051") as detector:
        result = detector.detect("bus.jpg", confidence_threshold=0.5)
        for detection in result:
            print(detection.class_name, detection.confidence, detection.bbox)

        with detector.stream(camera) as answers:
            for answer in answers:
                print(answer.frame_id, answer.dropped or answer.error or list(answer.result))

No call is ever tried twice: whether a failed one is worth another try is the caller's decision, for which `CallFailed`
has `code`, `reason` and `retry_after_s`. A stream is a row of calls: it goes on until all is answered.
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
from detector_grpc.client.stream.aio import AsyncStreamAnswers
from detector_grpc.client.stream.blocking import StreamAnswers
from detector_grpc.client.stream.values import DropReason, Mode, StreamAnswer, StreamFrame, StreamReady, Tracking
from detector_grpc.rpc.transport import TlsFiles

__all__ = [
    "AsyncDetector",
    "AsyncStreamAnswers",
    "CallFailed",
    "Color",
    "DetectOptions",
    "Detection",
    "DetectionResult",
    "Detector",
    "DropReason",
    "Mode",
    "ModelVersion",
    "Picture",
    "StreamAnswer",
    "StreamAnswers",
    "StreamFrame",
    "StreamReady",
    "Timing",
    "TlsFiles",
    "Tracking",
    "draw",
]
