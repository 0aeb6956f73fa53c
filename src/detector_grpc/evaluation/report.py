"""Everything that an evaluation says, as plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from detector_grpc.evaluation.bootstrap import Interval
    from detector_grpc.evaluation.thresholds import OperatingPoint


# What counts in COCO's numbers: lowest confidence, and most boxes in a picture.
LOWEST_CONFIDENCE, MOST_BOXES = 0.001, 100

# COCO's summary, in the order of pycocotools.
METRICS = (
    "mAP50-95",
    "mAP50",
    "mAP75",
    "mAP50-95 small",
    "mAP50-95 medium",
    "mAP50-95 large",
    "AR1",
    "AR10",
    "AR100",
    "AR100 small",
    "AR100 medium",
    "AR100 large",
)


@dataclass(frozen=True)
class Setting:
    """How an evaluation is made.

    Attributes:
        confidence_threshold: Lowest confidence. Range [0, 1].
        iou_threshold: Highest overlap of two boxes; None for that of each version. Range [0, 1].
        multi_label: Whether one box may be found under several classes.
        max_detections: Most boxes in a picture.
        workers: Pictures that are looked at at once.
        resamples: How often the pictures are drawn for the intervals.
        seed: Of these drawings; the same one gives the same intervals.
    """

    confidence_threshold: float
    iou_threshold: float | None
    multi_label: bool
    max_detections: int
    workers: int
    resamples: int
    seed: int


@dataclass(frozen=True)
class Skipped:
    """What was left out.

    Attributes:
        pictures: Why, by file name.
        categories: Those that a model does not know, with their number of objects to find.
    """

    pictures: Mapping[str, str]
    categories: Mapping[str, int]


@dataclass(frozen=True)
class ClassReport:
    """How well one class is found; what cannot be said because it is marked nowhere is None.

    Attributes:
        name: Its name.
        boxes: Number of objects to find.
        ap50_95: Average precision, mean over IoU .5 to .95. Range [0, 1].
        ap50: That at IoU .5.
        ar: Share of the objects that is found at all, mean over IoU .5 to .95. Range [0, 1].
        best: Where F1 is highest; None also where nothing is found.
        precision50: At IoU .5 and recall 0, .01, …, 1; empty where nothing is marked.
    """

    name: str
    boxes: int
    ap50_95: float | None
    ap50: float | None
    ar: float | None
    best: OperatingPoint | None
    precision50: tuple[float, ...]


@dataclass(frozen=True)
class Latency:
    """Of all pictures, in milliseconds."""

    median_ms: float
    p95_ms: float


@dataclass(frozen=True)
class TargetReport:
    """How well one target finds everything.

    Attributes:
        name: Its name.
        digest: Of the model file.
        iou_threshold: Highest overlap of two boxes that it left.
        metrics: By the names METRICS; None where there is no such object. Range [0, 1].
        intervals: Of mAP50-95 and mAP50, from drawing pictures.
        classes: By class.
        unmarked: Classes of the model that are no category: what it finds of them does not count.
        confusion: At the best threshold of each class; see `reference.confusion`.
        latency: By stage, and as a whole under "total".
    """

    name: str
    digest: str
    iou_threshold: float
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, Interval]
    classes: tuple[ClassReport, ...]
    unmarked: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    latency: Mapping[str, Latency]


@dataclass(frozen=True)
class Difference:
    """By how much the second target is better than the first.

    Attributes:
        value: On these pictures.
        interval: From drawing pictures.
        is_distinguishable: Whether the interval leaves out 0.
    """

    value: float
    interval: Interval
    is_distinguishable: bool


@dataclass(frozen=True)
class Report:
    """An evaluation.

    Attributes:
        setting: How it was made.
        skipped: What was left out.
        pictures: How many.
        boxes: Number of objects to find.
        crowds: Number of boxes that stand for many objects.
        targets: One or two.
        differences: By the names mAP50-95 and mAP50; empty with one target.
    """

    setting: Setting
    skipped: Skipped
    pictures: int
    boxes: int
    crowds: int
    targets: tuple[TargetReport, ...]
    differences: Mapping[str, Difference]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for JSON."""
        return asdict(self)
