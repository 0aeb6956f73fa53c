"""The golden gate: pictures whose boxes are known, which a version must reproduce before it becomes READY.

A model that is fed with swapped colours, another letterbox or other labels still answers, only worse; nothing but its
boxes tells. So a version may come with a folder of pictures and `expected.json`, which says what was found in them when
somebody looked at the boxes and approved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detector_grpc.errors import ImageError, ModelInvalid
from detector_grpc.serving.options import MAX_DETECTIONS, RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage
from detector_grpc.validation import faults
from detector_grpc.vision.boxes import iou_matrix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from detector_grpc.serving.options import DetectOptions
    from detector_grpc.serving.pipeline import Pipeline, Result

EXPECTED_FILE = "expected.json"

# A box that overlaps an expected one less than this is another box.
SAME_PLACE_IOU = 0.5
MAX_DIFFERENCES_TOLD = 5

Probability = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[^/\\]+$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExpectedDetection(_Model):
    """One object.

    Attributes:
        class_name: Name of its class.
        confidence: Range [0, 1].
        bbox: x_min, y_min, x_max, y_max in pixels of the upright picture.
    """

    class_name: str
    confidence: Probability
    bbox: tuple[float, float, float, float]

    def __str__(self) -> str:
        return f"{self.class_name} {self.confidence:.3f} at [{', '.join(f'{edge:.1f}' for edge in self.bbox)}]"


class GoldenOptions(_Model):
    """The options that the boxes were found with, so that the gate does not depend on the version's operating point."""

    confidence_threshold: Probability
    iou_threshold: Probability
    multi_label: bool
    class_agnostic_nms: bool
    max_detections: Annotated[int, Field(ge=1, le=MAX_DETECTIONS)]

    @classmethod
    def of(cls, options: DetectOptions) -> GoldenOptions:
        """Those of a version, without what it says of single classes."""
        return cls(**{name: getattr(options, name) for name in cls.model_fields})

    def requested(self) -> RequestedOptions:
        """As a caller asks for them."""
        return RequestedOptions(**self.model_dump())


class Golden(_Model):
    """An `expected.json`.

    Attributes:
        options: The options that the boxes were found with.
        min_iou: Least overlap of an expected box and the one that is found. Range [0.5, 1].
        max_confidence_difference: Largest difference of their confidences; an object that is no more than this above
            the threshold may be missing, or be one too many. Range [0, 1].
        pictures: What is to be found, by the name of the picture in the same folder.
    """

    options: GoldenOptions
    min_iou: Annotated[float, Field(ge=SAME_PLACE_IOU, le=1)] = 0.98
    max_confidence_difference: Probability = 0.02
    pictures: Annotated[dict[Name, tuple[ExpectedDetection, ...]], Field(min_length=1)]


def check(folder: Path, pipeline: Pipeline) -> None:
    """Runs the golden pictures of a version; a folder that is not there checks nothing.

    Raises:
        ModelInvalid: The folder cannot be read, or other boxes are found than expected: which ones is said.
    """
    if not folder.exists():
        return
    golden = read(folder)
    told = []
    for name in golden.pictures:
        told += [f"{name}: {difference}" for difference in picture_differences(golden, folder, name, pipeline)]
    if told:
        shown = "; ".join(told[:MAX_DIFFERENCES_TOLD])
        rest = len(told) - MAX_DIFFERENCES_TOLD
        more = f"; and {rest} more" if rest > 0 else ""
        raise ModelInvalid(f"{folder}: the version does not reproduce its golden pictures: {shown}{more}")


def read(folder: Path) -> Golden:
    """Reads the expectations.

    Raises:
        ModelInvalid: The file cannot be read, or has unknown or wrong keys, all of which are named.
    """
    path = folder / EXPECTED_FILE
    try:
        return Golden.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ModelInvalid(f"{path}: {'; '.join(faults(error))}") from error
    except OSError as error:
        raise ModelInvalid(f"{path}: cannot be read: {error.strerror}") from error


def picture_differences(golden: Golden, folder: Path, name: str, pipeline: Pipeline) -> Iterator[str]:
    """What the pipeline finds otherwise in one picture, a sentence for each box.

    Raises:
        ModelInvalid: The picture cannot be read.
    """
    path = folder / name
    try:
        result = pipeline.detect(EncodedImage(path.read_bytes()), golden.options.requested())
    except OSError as error:
        raise ModelInvalid(f"{path}: cannot be read: {error.strerror}") from error
    except ImageError as error:
        raise ModelInvalid(f"{path}: {error.message}") from error
    found = detections(result, pipeline.class_names)
    return _differences(golden, golden.pictures[name], found)


def detections(result: Result, class_names: Sequence[str]) -> tuple[ExpectedDetection, ...]:
    """What was found, as it is to be expected from then on."""
    found = result.detections
    boxes, confidences = found.xyxy.astype(float).round(2).tolist(), found.confidence.astype(float).round(5).tolist()
    return tuple(
        ExpectedDetection(class_name=class_names[class_id], confidence=confidence, bbox=tuple(box))
        for box, confidence, class_id in zip(boxes, confidences, found.class_id.tolist(), strict=True)
    )


def _differences(
    golden: Golden, expected: Sequence[ExpectedDetection], found: Sequence[ExpectedDetection]
) -> Iterator[str]:
    overlaps = iou_matrix(_boxes(expected), _boxes(found))
    certain = golden.options.confidence_threshold + golden.max_confidence_difference
    left = set(range(len(found)))
    for index, wanted in enumerate(expected):
        # Of boxes in the same place the one of the same class is meant, else the one that overlaps most.
        near = [other for other in left if overlaps[index, other] >= SAME_PLACE_IOU]
        if not near:
            if wanted.confidence >= certain:
                yield f"{wanted} is not found"
            continue
        best = max(near, key=lambda other: (found[other].class_name == wanted.class_name, overlaps[index, other]))
        left.remove(best)
        yield from _deviations(golden, wanted, found[best], float(overlaps[index, best]))
    yield from (f"{found[other]} is found, too" for other in sorted(left) if found[other].confidence >= certain)


def _deviations(golden: Golden, wanted: ExpectedDetection, actual: ExpectedDetection, overlap: float) -> Iterator[str]:
    if actual.class_name != wanted.class_name:
        yield f"{wanted} is found as {actual.class_name} {actual.confidence:.3f}"
    elif overlap < golden.min_iou:
        yield f"{wanted} is found at an overlap of {overlap:.3f}, the least is {golden.min_iou:g}"
    elif abs(actual.confidence - wanted.confidence) > golden.max_confidence_difference:
        most = golden.max_confidence_difference
        yield f"{wanted} is found with confidence {actual.confidence:.3f}, the largest difference is {most:g}"


def _boxes(rows: Sequence[ExpectedDetection]) -> np.ndarray:
    return np.array([row.bbox for row in rows], np.float32).reshape(-1, 4)
