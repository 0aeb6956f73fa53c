"""What is remembered of one picture and its detections: numbers, never pixels."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detector_grpc.drift.features import NAMES
from detector_grpc.vision.picture_statistics import picture_statistics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from detector_grpc.vision.detections import Detections
    from detector_grpc.vision.sample import PictureSample

# Boxes of less confidence are uncertain.
UNCERTAIN_BELOW = 0.7


class Watched(NamedTuple):
    """Name of a version, as servers resolved it."""

    model: str
    version: str


class Observation(NamedTuple):
    """One picture and its detections.

    Attributes:
        values: float32 (F,), in the order of `features.NAMES`; NaN where there is nothing to say, e.g. of the
            confidence where nothing was detected.
        classes: Number of boxes by class name.
        group: Stream that it belongs to; empty where it is none of one.
    """

    values: NDArray[np.float32]
    classes: Mapping[str, int]
    group: str = ""


def observe(
    sample: PictureSample,
    image_wh: tuple[int, int],
    detections: Detections,
    class_names: Sequence[str],
    group: str = "",
) -> Observation:
    """Looks at a picture and at what was found in it.

    Args:
        sample: The picture, small.
        image_wh: Size that boxes are in.
        detections: Boxes in px of `image_wh`.
        class_names: By class_id.
        group: The stream.
    """
    measured = picture_statistics(sample)._asdict() | _sizes(image_wh) | _boxes(detections, image_wh)
    values = np.array([measured[name] for name in NAMES], np.float32)
    return Observation(values, Counter(class_names[each] for each in detections.class_id.tolist()), group)


def _sizes(image_wh: tuple[int, int]) -> dict[str, float]:
    """The ratio of width to height, and the side of a square as large as the picture, px."""
    width, height = image_wh
    return {"aspect": width / height, "size": math.sqrt(width * height)}


def _boxes(detections: Detections, image_wh: tuple[int, int]) -> dict[str, float]:
    """Means over the boxes of a picture, lengths and places as shares of the picture."""
    confidence, count = detections.confidence, len(detections)
    if not count:
        return {"detections": 0.0} | dict.fromkeys(
            ("confidence", "confidence_spread", "uncertain", "box_size", "box_x", "box_y"), math.nan
        )
    corners = detections.xyxy.reshape(-1, 2, 2) / np.array(image_wh, np.float32)
    sides, (x, y) = corners[:, 1] - corners[:, 0], corners.mean(axis=(0, 1))
    return {
        "detections": float(count),
        "confidence": float(confidence.mean()),
        "confidence_spread": float(confidence.std()) if count > 1 else math.nan,
        "uncertain": float((confidence < UNCERTAIN_BELOW).mean()),
        "box_size": float(np.sqrt(sides.prod(axis=1)).mean()),
        "box_x": float(x),
        "box_y": float(y),
    }
