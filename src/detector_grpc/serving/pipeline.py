"""One picture through one model: decode, letterbox, run, head, suppress, map back. Each arrow is one function."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from detector_grpc.errors import InvalidRequest, Violation
from detector_grpc.vision import decode
from detector_grpc.vision.detections import Detections
from detector_grpc.vision.heads import HEADS
from detector_grpc.vision.nms import suppress
from detector_grpc.vision.sample import sample
from detector_grpc.vision.uncertainty import DEFAULT_MEASURES, MOST_CANDIDATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detector_grpc.serving.options import DetectOptions, RequestedOptions
    from detector_grpc.serving.session import Session
    from detector_grpc.serving.spec import ModelSpec
    from detector_grpc.vision.decode import PixelFormat, StoredPicture
    from detector_grpc.vision.heads.head import Candidates
    from detector_grpc.vision.sample import PictureSample
    from detector_grpc.vision.uncertainty import Measures, Uncertainty


@dataclass(frozen=True)
class EncodedImage:
    """A picture file."""

    data: bytes

    def open(self, max_pixels: int) -> StoredPicture:
        """As `vision.decode.open_encoded`."""
        return decode.open_encoded(self.data, max_pixels)


@dataclass(frozen=True)
class RawImage:
    """Uncompressed samples, as `vision.decode.open_raw` takes them."""

    data: bytes
    width: int
    height: int
    pixel_format: PixelFormat

    def open(self, max_pixels: int) -> StoredPicture:
        """As `vision.decode.open_raw`."""
        return decode.open_raw(self.data, self.width, self.height, self.pixel_format, max_pixels)


Image = EncodedImage | RawImage


class PictureRequest(NamedTuple):
    """One picture, and what its caller asks for.

    Attributes:
        image: The picture.
        source_wh: Size of the upright picture before its caller shrank it, in whose pixels boxes are; None: as sent.
        options: How detections are chosen.
    """

    image: Image
    source_wh: tuple[int, int] | None
    options: RequestedOptions


class Timing(NamedTuple):
    """Seconds that the parts took."""

    queue_s: float
    decode_s: float
    preprocess_s: float
    inference_s: float
    postprocess_s: float


@dataclass(frozen=True)
class Result:
    """What was found in one picture.

    Attributes:
        detections: Boxes in source px, most confident first, clipped to the picture; none without an area.
        image_wh: Size of the picture whose pixels the boxes are in.
        options: The options that were used.
        timing: Where the time went.
        uncertainty: How unsure the model was of the picture.
        sample: A little of the picture, where somebody wanted it.
    """

    detections: Detections
    image_wh: tuple[int, int]
    options: DetectOptions
    timing: Timing
    uncertainty: Uncertainty
    sample: PictureSample | None = field(default=None, repr=False)


class Pipeline:
    """Runs pictures through one session. Has no state of its own: any number of threads may call `detect` at once.

    Args:
        spec: What the model is.
        session: The model, taking `spec.input`.
        max_pixels: Largest width * height of a picture.
        measures: How unsure the model is.
    """

    def __init__(
        self, spec: ModelSpec, session: Session, max_pixels: int, measures: Measures = DEFAULT_MEASURES
    ) -> None:
        self._spec = spec
        self._session = session
        self._head = HEADS[spec.layout.head]
        self._max_pixels = max_pixels
        self._measures = measures
        self._own_thresholds = spec.options.thresholds(spec.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """By class_id."""
        return self._spec.class_names

    @property
    def provider(self) -> str:
        """The execution provider that really runs the model."""
        return self._session.provider

    def detect(
        self,
        image: Image,
        requested: RequestedOptions,
        source_wh: tuple[int, int] | None = None,
        queue_s: float = 0.0,
        *,
        sampled: bool = False,
    ) -> Result:
        """Finds objects in one picture; blocks for as long as that takes.

        Args:
            image: The picture.
            requested: The caller's options.
            source_wh: Size of the picture before the caller shrank it; boxes come back in its pixels.
            queue_s: Seconds that the picture waited, for the timing.
            sampled: Whether the result is to have a sample of the picture.

        Raises:
            ImageError: The picture cannot be used.
            InvalidRequest: A class is unknown, or `source_wh` does not fit the picture.
            InferenceFailed: The runtime refused.
        """
        options = requested.over(self._spec.options, self._spec.class_names)
        started = time.perf_counter()
        picture = image.open(self._max_pixels)
        _check_source(source_wh, picture.image_wh)
        letterbox = self._spec.input.fit(picture.image_wh)
        pixels = picture.pixels(letterbox.resized_wh)
        decoded = time.perf_counter()
        feeds = self._spec.input.feeds(letterbox.apply(pixels, self._spec.input.pad_value))
        kept_pixels = sample(pixels) if sampled else None
        preprocessed = time.perf_counter()
        outputs = self._session.run(feeds, self._spec.layout.outputs)
        inferred = time.perf_counter()
        kept, uncertainty = self._read(outputs, options)
        found = _in_picture(Detections(letterbox.to_image(kept.xyxy), kept.confidence, kept.class_id))
        boxes = _in_source(found.xyxy, picture.image_wh, source_wh)
        return Result(
            Detections(boxes, found.confidence, found.class_id),
            source_wh or picture.image_wh,
            options,
            Timing(
                queue_s,
                decoded - started,
                preprocessed - decoded,
                inferred - preprocessed,
                time.perf_counter() - inferred,
            ),
            uncertainty,
            kept_pixels,
        )

    def upright(self, image: Image) -> NDArray[np.uint8]:
        """All pixels of a picture, uint8 (H, W, 3), RGB, upright; for looking at, since `detect` decodes fewer.

        Raises:
            ImageError: The picture cannot be used.
        """
        picture = image.open(self._max_pixels)
        return picture.pixels(picture.image_wh)

    def close(self) -> None:
        """Frees the model; no picture may be under way."""
        self._session.close()

    def _read(self, outputs: Sequence[NDArray[Any]], options: DetectOptions) -> tuple[Detections, Uncertainty]:
        """What is there, in model px, most confident first, and how unsure the model is."""
        layout = self._spec.layout
        arrays = [output[0].astype(np.float32, copy=False) for output in outputs]
        thresholds = options.thresholds(self._spec.class_names)
        with np.errstate(all="ignore"):  # a model may answer anything; what is no number is left out
            candidates = self._head.decode(
                [arrays[0].T] if layout.rows_last else arrays,
                thresholds,
                self._spec.input.hw,
                multi_label=options.multi_label,
                doubtful=MOST_CANDIDATES,
            )
            # A version is as unsure whatever confidence its caller asks for, but of no classes that he does not want.
            own = self._own_thresholds
            if options.classes:
                own = np.where(np.isinf(thresholds), thresholds, own)
            uncertainty = self._measures(candidates, own)
        return self._chosen(candidates, thresholds, options), uncertainty

    def _chosen(self, candidates: Candidates, thresholds: NDArray[np.float32], options: DetectOptions) -> Detections:
        boxes = candidates.boxes
        found = boxes.take(np.flatnonzero(boxes.confidence >= thresholds[boxes.class_id]))
        if self._head.suppressed:
            return found.best(options.max_detections)
        return suppress(
            found,
            options.iou_threshold,
            class_agnostic=options.class_agnostic_nms,
            max_detections=options.max_detections,
        )


def _check_source(source_wh: tuple[int, int] | None, image_wh: tuple[int, int]) -> None:
    """Refuses a source size of another shape, but for the rounding of each side to whole pixels."""
    if source_wh is None:
        return
    (source_width, source_height), (width, height) = source_wh, image_wh
    # |w/W - h/H| is what rounding each side by at most one pixel can make of equal ratios.
    difference = abs(width / source_width - height / source_height)
    if difference > 1 / source_width + 1 / source_height:
        raise InvalidRequest(
            [
                Violation(
                    "source_size",
                    f"{source_width} x {source_height} has another aspect ratio than the picture, {width} x {height}",
                )
            ]
        )


def _in_picture(clipped: Detections) -> Detections:
    """Those of which something is left: what lies in the padding becomes a line on the edge, or a point."""
    return clipped.take(np.flatnonzero((clipped.xyxy[:, 2:] > clipped.xyxy[:, :2]).all(axis=1)))


def _in_source(
    xyxy: NDArray[np.float32], image_wh: tuple[int, int], source_wh: tuple[int, int] | None
) -> NDArray[np.float32]:
    if source_wh is None:
        return xyxy
    scale = np.tile(np.divide(source_wh, image_wh), 2).astype(np.float32)
    return np.multiply(xyxy, scale)
