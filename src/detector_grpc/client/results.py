"""What was found in a picture."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detector_grpc.client.options import DetectOptions, options_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import supervision
    from numpy.typing import NDArray

    from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectResponse
    from detector_grpc._gen.detector.v1.stream_pb2 import FrameDetections

# What a float32 is worth when it is written as decimal: boxes to 1/1000 px, shares of one and milliseconds alike.
_BOX_DIGITS = 3
_DIGITS = 6

# What the supervision library takes for "not followed".
_NO_TRACKER_ID = -1


@dataclass(frozen=True)
class Detection:
    """One object.

    Attributes:
        class_id: Index of the class in the model's class names.
        class_name: Name of the class.
        confidence: Range [0, 1].
        bbox: (x_min, y_min, x_max, y_max) in pixels of the upright picture.
        track_id: Identity of the object within its stream, from 1. None: not followed, or not yet.
    """

    class_id: int
    class_name: str
    confidence: float
    bbox: tuple[float, float, float, float]
    track_id: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for JSON; without a track_id if it has none."""
        values = {**asdict(self), "bbox": list(self.bbox)}
        if self.track_id is None:
            del values["track_id"]
        return values


@dataclass(frozen=True)
class Timing:
    """Where the server's time went, in milliseconds: waiting, pixels, tensor, model, boxes."""

    queue_ms: float
    decode_ms: float
    preprocess_ms: float
    inference_ms: float
    postprocess_ms: float


@dataclass(frozen=True, eq=False)
class DetectionResult:
    """The answer for one picture: N detections, most confident first, as arrays and one by one by iteration.

    Attributes:
        request_id: The id under which the server logged the call.
        model: Name of the model that answered.
        version: Version of the model that answered.
        model_digest: "sha256:" and 64 hexadecimal digits of the model file.
        image_wh: Size of the upright picture (EXIF orientation applied) in whose pixels the boxes are.
        options: The options that were used.
        timing: Where the server's time went.
        uncertainty: How unsure the model was of this picture: 0 sure, 1 unsure. None: not computed.
        uncertainty_driver: Name of the measure that the uncertainty comes from; empty for none.
        xyxy: float32 (N, 4), rows (x_min, y_min, x_max, y_max) in pixels, clipped to the picture.
        confidence: float32 (N,). Range [0, 1].
        class_id: int32 (N,).
        class_name: N names.
        track_id: N identities within the stream, from 1; None for an object that is not followed, or not yet.
    """

    request_id: str
    model: str
    version: str
    model_digest: str
    image_wh: tuple[int, int]
    options: DetectOptions
    timing: Timing
    uncertainty: float | None
    uncertainty_driver: str
    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]
    class_name: tuple[str, ...]
    track_id: tuple[int | None, ...]

    def __len__(self) -> int:
        return len(self.class_name)

    def __iter__(self) -> Iterator[Detection]:
        boxes = np.round(self.xyxy.astype(np.float64), _BOX_DIGITS).tolist()
        confidences = np.round(self.confidence.astype(np.float64), _DIGITS).tolist()
        for class_id, name, confidence, box, track_id in zip(
            self.class_id.tolist(), self.class_name, confidences, boxes, self.track_id, strict=True
        ):
            yield Detection(class_id, name, confidence, tuple(box), track_id)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for JSON; boxes are rounded to 1/1000 px."""
        return {
            "request_id": self.request_id,
            "model": self.model,
            "version": self.version,
            "model_digest": self.model_digest,
            "image_wh": list(self.image_wh),
            "detections": [detection.to_dict() for detection in self],
            "options": self.options,
            "timing": asdict(self.timing),
            "uncertainty": self.uncertainty,
            "uncertainty_driver": self.uncertainty_driver,
        }

    def to_supervision(self) -> supervision.Detections:
        """The same for the supervision library, with the class names as `data["class_name"]`.

        Where objects are followed, one without an identity has tracker_id -1.

        Raises:
            ImportError: supervision is not installed.
        """
        try:
            import supervision  # noqa: PLC0415  takes a second, and most callers do without it
        except ImportError as error:
            raise ImportError("to_supervision needs the supervision package: pip install supervision") from error
        return supervision.Detections(
            xyxy=self.xyxy,
            confidence=self.confidence,
            class_id=self.class_id,
            tracker_id=self._tracker_id(),
            data={"class_name": np.array(self.class_name, dtype=np.str_)},
        )

    def _tracker_id(self) -> NDArray[np.int32] | None:
        if all(track_id is None for track_id in self.track_id):
            return None
        return np.array([_NO_TRACKER_ID if track_id is None else track_id for track_id in self.track_id], np.int32)


def detection_result(answer: DetectResponse) -> DetectionResult:
    """Reads the answer for one picture."""
    return found(
        answer,
        request_id=answer.request_id,
        model=answer.model,
        version=answer.version,
        model_digest=answer.model_digest,
        options=options_of(answer.options),
    )


def found(
    answer: DetectResponse | FrameDetections,
    *,
    request_id: str,
    model: str,
    version: str,
    model_digest: str,
    options: DetectOptions,
) -> DetectionResult:
    """Reads what was found in one picture; by whom and how is said beside it."""
    detections = answer.detections
    boxes = [(box.x_min, box.y_min, box.x_max, box.y_max) for box in (detection.bbox for detection in detections)]
    return DetectionResult(
        request_id=request_id,
        model=model,
        version=version,
        model_digest=model_digest,
        image_wh=(answer.image_size.width, answer.image_size.height),
        options=options,
        timing=Timing(
            queue_ms=round(answer.timing.queue_ms, _DIGITS),
            decode_ms=round(answer.timing.decode_ms, _DIGITS),
            preprocess_ms=round(answer.timing.preprocess_ms, _DIGITS),
            inference_ms=round(answer.timing.inference_ms, _DIGITS),
            postprocess_ms=round(answer.timing.postprocess_ms, _DIGITS),
        ),
        uncertainty=round(answer.uncertainty, _DIGITS) if answer.HasField("uncertainty") else None,
        uncertainty_driver=answer.uncertainty_driver,
        xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        confidence=np.array([detection.confidence for detection in detections], np.float32),
        class_id=np.array([detection.class_id for detection in detections], np.int32),
        class_name=tuple(detection.class_name for detection in detections),
        track_id=tuple(detection.track_id if detection.HasField("track_id") else None for detection in detections),
    )
