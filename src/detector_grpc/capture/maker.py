"""Makes a sample of a picture and what was found in it."""

from __future__ import annotations

import logging
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from detector_grpc.capture.sample import Box, Doubt, Options, Sample, Sidecar, digest
from detector_grpc.serving.pipeline import EncodedImage
from detector_grpc.vision.encode import MAX_JPEG_SIDE_PX, encode_jpeg
from detector_grpc.vision.fingerprint import FINGERPRINT_PX, fingerprint
from detector_grpc.vision.header import read_header
from detector_grpc.vision.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from detector_grpc.serving.outcome import Outcome
    from detector_grpc.serving.pipeline import Image
    from detector_grpc.vision.detections import Detections

log = logging.getLogger(__name__)

UNCERTAIN = "uncertain"

# A picture that had to be encoded again is to be labelled, and learned from.
_JPEG_QUALITY = 95
_PNG_FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1)


class Redaction(NamedTuple):
    """What is made unrecognisable before anything is written.

    Attributes:
        classes: Names of the classes whose boxes are.
        hide: Hides boxes, float32 (N, 4), in a picture, uint8 (H, W, 3), RGB, in place.
    """

    classes: frozenset[str]
    hide: Callable[[NDArray[np.uint8], NDArray[np.float32]], None] = redact


class Maker:
    """Makes samples. Any number of threads may use it.

    Args:
        max_pixels: As serving.pipeline.Pipeline takes it.
        redaction: What is hidden.
    """

    def __init__(self, max_pixels: int, redaction: Redaction) -> None:
        self._max_pixels = max_pixels
        self._redaction = redaction
        self._told: set[frozenset[str]] = set()

    def fingerprint(self, image: Image) -> bytes:
        """As vision.fingerprint; only as many pixels are decoded as it takes. Raises ImageError."""
        pixels = image.open(self._max_pixels).pixels((FINGERPRINT_PX, FINGERPRINT_PX))
        return fingerprint(pixels)

    def sample(
        self, outcome: Outcome, reasons: Sequence[str], signals: Mapping[str, float], captured_at_s: float
    ) -> Sample:
        """The sample of an outcome with a request and a result.

        Args:
            outcome: What became of the picture.
            reasons: Why it was chosen.
            signals: What was found beside the model's own uncertainty, by name.
            captured_at_s: When it was chosen, seconds since the epoch.

        Raises:
            ImageError: The picture cannot be decoded where that is needed.
        """
        call, request, result = outcome.call, outcome.request, outcome.result
        assert request is not None  # noqa: S101 - for mypy
        assert result is not None  # noqa: S101 - for mypy
        self._tell_unknown(self._redaction.classes.difference(outcome.class_names))
        picture = request.image.open(self._max_pixels)
        boxes = _boxes(result.detections, outcome.class_names, np.divide(picture.image_wh, result.image_wh))
        kept, media_type = self._kept(request.image, boxes)
        return Sample(
            kept,
            Sidecar(
                sha256=digest(kept),
                media_type=media_type,
                width=picture.image_wh[0],
                height=picture.image_wh[1],
                captured_at=datetime.fromtimestamp(captured_at_s, UTC),
                request_id=call.request_id,
                stream_id=call.stream_id,
                frame_id=outcome.frame_id,
                caller=call.caller,
                model=call.model,
                version=call.version,
                model_digest=outcome.model_digest,
                class_names=tuple(outcome.class_names),
                uncertainty=Doubt(
                    score=result.uncertainty.score,
                    driver=result.uncertainty.driver,
                    measures={**result.uncertainty.measures, **signals},
                ),
                reasons=tuple(reasons),
                options=Options(**asdict(result.options)),
                detections=boxes,
                redacted=tuple(sorted(self._redaction.classes)),
            ),
        )

    def _kept(self, image: Image, boxes: Sequence[Box]) -> tuple[bytes, str]:
        """The picture as it is kept, and its media type: as it was sent, where nothing has to be hidden in it."""
        hidden = [box.bbox for box in boxes if box.class_name in self._redaction.classes]
        if hidden:
            pixels = np.array(self._upright(image))
            self._redaction.hide(pixels, np.array(hidden, np.float32))
            if max(pixels.shape) > MAX_JPEG_SIDE_PX:
                return _png(pixels), "image/png"
            return encode_jpeg(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), _JPEG_QUALITY), "image/jpeg"
        if isinstance(image, EncodedImage):
            return image.data, f"image/{read_header(image.data).format.name.lower()}"
        return _png(self._upright(image)), "image/png"

    def _tell_unknown(self, classes: frozenset[str]) -> None:
        if classes and classes not in self._told:
            self._told.add(classes)
            log.warning(
                "there are no such classes, so nothing of them is hidden in what is kept: see DETECTOR_CAPTURE_REDACT",
                extra={"classes": sorted(classes)},
            )

    def _upright(self, image: Image) -> NDArray[np.uint8]:
        picture = image.open(self._max_pixels)
        return picture.pixels(picture.image_wh)


def _boxes(detections: Detections, class_names: Sequence[str], scale: NDArray[np.float64]) -> tuple[Box, ...]:
    """In pixels of the picture as it was sent, which its caller may have shrunk."""
    xyxy = detections.xyxy if (scale == 1).all() else detections.xyxy * np.tile(scale, 2).astype(np.float32)
    return tuple(
        Box(
            class_id=class_id,
            class_name=class_names[class_id],
            confidence=_shortest(confidence),
            bbox=tuple(map(_shortest, box)),
        )
        for box, confidence, class_id in zip(xyxy, detections.confidence, detections.class_id.tolist(), strict=True)
    )


def _png(pixels: NDArray[np.uint8]) -> bytes:
    _, file = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), _PNG_FAST)
    return file.tobytes()


def _shortest(value: np.float32) -> float:
    """The number of fewest digits that is this one as float32."""
    return float(str(value))
