"""What a form of a version takes and finds, beside what the version did."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector_grpc.evaluation.judge import judge
from detector_grpc.evaluation.report import LOWEST_CONFIDENCE, MOST_BOXES, Setting, Skipped
from detector_grpc.serving.options import RequestedOptions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from detector_grpc.coco import Annotations
    from detector_grpc.evaluation.report import Difference
    from detector_grpc.evaluation.target import Run, Target

# How COCO's numbers are taken, as `models evaluate` does unless it is told otherwise.
SETTING = Setting(
    LOWEST_CONFIDENCE,
    iou_threshold=None,
    multi_label=True,
    max_detections=MOST_BOXES,
    workers=1,
    resamples=1000,
    seed=0,
)
OPTIONS = RequestedOptions(
    confidence_threshold=LOWEST_CONFIDENCE, multi_label=SETTING.multi_label, max_detections=MOST_BOXES
)

# Short rounds, in which all take turns, so that what else the machine does falls on all alike.
_ROUNDS, _PICTURES = 5, 10


@dataclass(frozen=True)
class Accuracy:
    """How well a form finds what is marked, and by how much better than the version it was made of.

    Attributes:
        map50_95: Range [0, 1].
        map50: Range [0, 1].
        difference: Of map50_95.
    """

    map50_95: float
    map50: float
    difference: Difference


def compare(annotations: Annotations, original: Run, run: Run) -> Accuracy:
    """Evaluates a form beside the version it was made of."""
    report = judge(annotations, [original, run], SETTING, Skipped({}, {}))
    metrics = report.targets[1].metrics
    return Accuracy(metrics["mAP50-95"] or 0.0, metrics["mAP50"] or 0.0, report.differences["mAP50-95"])


def cpu_ms(targets: Sequence[Target], pictures: Sequence[Path]) -> list[float]:
    """Milliseconds of all processors together that a picture takes each target, from its bytes to its boxes.

    The median of rounds, in each of which every target looks at the same few pictures.
    """
    shown = [path.read_bytes() for path in pictures[:_PICTURES]]
    taken_ms: list[list[float]] = [[] for _ in targets]
    for _ in range(_ROUNDS):
        for target, times in zip(targets, taken_ms, strict=True):
            started = time.process_time()
            for picture in shown:
                target.look(picture)
            times.append((time.process_time() - started) * 1e3 / len(shown))
    return [statistics.median(times) for times in taken_ms]
