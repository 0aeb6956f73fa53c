"""Captured samples, and pictures that become some."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from prometheus_client import CollectorRegistry

from detector_grpc.capture.metrics import CaptureMetrics
from detector_grpc.capture.sample import Doubt, Options, Sample, Sidecar, digest
from detector_grpc.serving.options import DetectOptions, RequestedOptions
from detector_grpc.serving.outcome import Call, Outcome
from detector_grpc.serving.pipeline import EncodedImage, PictureRequest, Result, Timing
from detector_grpc.vision.detections import Detections
from detector_grpc.vision.uncertainty import Uncertainty
from support.pictures import jpeg

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector_grpc.capture.spool import Spool
    from detector_grpc.serving.pipeline import Image

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLASS_NAMES = ("car", "face")


def sample(picture: bytes = b"picture", **fields: Any) -> Sample:
    """A sample of bytes that need be no picture, with some fields of its sidecar."""
    known: dict[str, Any] = {
        "sha256": digest(picture),
        "media_type": "image/jpeg",
        "width": 64,
        "height": 48,
        "captured_at": NOON,
        "request_id": "request-1",
        "stream_id": "",
        "frame_id": None,
        "caller": "anonymous",
        "model": "m",
        "version": "v1",
        "model_digest": "sha256:0",
        "class_names": CLASS_NAMES,
        "uncertainty": Doubt(score=0.5, driver="least_confidence"),
        "reasons": ("uncertain",),
        "options": Options(
            confidence_threshold=0.25,
            iou_threshold=0.7,
            multi_label=False,
            class_agnostic_nms=False,
            max_detections=300,
        ),
        "detections": (),
    }
    return Sample(picture, Sidecar(**known | fields))


def scene(seed: int, width: int = 320, height: int = 240) -> NDArray[np.uint8]:
    """Blocks of random colours, uint8 (H, W, 3), RGB: no two seeds are near to each other."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.repeat(np.repeat(blocks, -(-height // 6), 0), -(-width // 8), 1)[:height, :width]


def scene_file(seed: int) -> bytes:
    """As a JPEG."""
    return jpeg(scene(seed))


def outcome(
    image: Image | bytes = b"",
    score: float = 0.5,
    *,
    boxes: NDArray[np.float32] | None = None,
    class_id: int = 0,
    image_wh: tuple[int, int] = (320, 240),
    frame_id: int | None = None,
    **of_call: Any,
) -> Outcome:
    """What became of a picture: boxes of one class, of which the model was that unsure."""
    boxes = np.empty((0, 4), np.float32) if boxes is None else boxes
    found = Detections(boxes, np.full(len(boxes), 0.6, np.float32), np.full(len(boxes), class_id, np.int32))
    image = EncodedImage(image or scene_file(0)) if isinstance(image, bytes) else image
    return Outcome(
        Call("/Detect", **{"request_id": "request-1", "model": "m", "version": "v1"} | of_call),
        "ok",
        0.1,
        PictureRequest(image, None, RequestedOptions()),
        Result(found, image_wh, DetectOptions(), Timing(0, 0, 0, 0, 0), uncertainty=Uncertainty(score, "margin")),
        model_digest="sha256:0",
        class_names=CLASS_NAMES,
        frame_id=frame_id,
    )


class Counted:
    """The metrics of a spool, and what they say.

    Attributes:
        metrics: They.
    """

    def __init__(self, spool: Spool) -> None:
        self._collectors = CollectorRegistry()
        self.metrics = CaptureMetrics(self._collectors, spool)

    def __call__(self, name: str, **labels: str) -> float:
        """The value of a series below `active_learning_`; 0 where there is none."""
        return self._collectors.get_sample_value(f"active_learning_{name}", labels) or 0
