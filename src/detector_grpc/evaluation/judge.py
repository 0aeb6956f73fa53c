"""From what targets found to everything that can be said of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from detector_grpc.evaluation.bootstrap import Interval, draw_pictures, mean_average_precision
from detector_grpc.evaluation.reference import Evaluation, confusion, evaluate
from detector_grpc.evaluation.report import (
    METRICS,
    ClassReport,
    Difference,
    Latency,
    Report,
    Setting,
    Skipped,
    TargetReport,
)
from detector_grpc.evaluation.thresholds import best_threshold

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from detector_grpc.coco import Annotations
    from detector_grpc.evaluation.target import Run
    from detector_grpc.vision.detections import Detections


def judge(annotations: Annotations, runs: Sequence[Run], setting: Setting, skipped: Skipped) -> Report:
    """Evaluates.

    Args:
        annotations: Pictures that all runs have answers for, and categories that all targets know.
        runs: One, or two to be compared.
        setting: How the runs were made.
        skipped: What was left out of the annotations.
    """
    weights = draw_pictures(len(annotations.pictures), setting.resamples, setting.seed)
    targets, resampled = [], []
    for run in runs:
        found = _found(annotations, run)
        evaluation = evaluate(annotations, found)
        drawn = mean_average_precision(evaluation.matches, weights)
        by_metric = {"mAP50-95": drawn.mean(axis=1), "mAP50": drawn[:, 0]}
        resampled.append(by_metric)
        targets.append(_target_report(annotations, run, found, evaluation, setting, by_metric))
    differences = {}
    if len(runs) > 1:
        first, second = targets
        for name, values in resampled[0].items():
            interval = Interval.of(resampled[1][name] - values)
            value = (second.metrics[name] or 0.0) - (first.metrics[name] or 0.0)
            differences[name] = Difference(value, interval, not interval.low <= 0 <= interval.high)
    boxes = sum(annotations.counts().values())
    return Report(
        setting=setting,
        skipped=skipped,
        pictures=len(annotations.pictures),
        boxes=boxes,
        crowds=len(annotations.boxes) - boxes,
        targets=tuple(targets),
        differences=differences,
    )


def _found(annotations: Annotations, run: Run) -> dict[int, Detections]:
    """The detections of the categories, with the place in `annotations.categories` as their class_id."""
    places = {name: place for place, name in enumerate(annotations.categories)}
    of_class = np.array([places.get(name, -1) for name in run.target.class_names], np.int32)
    found = {}
    for key in annotations.pictures:
        detections = run.answers[key].detections
        place = of_class[detections.class_id]
        found[key] = replace(detections, class_id=place).take(np.flatnonzero(place >= 0))
    return found


def _target_report(
    annotations: Annotations,
    run: Run,
    found: Mapping[int, Detections],
    evaluation: Evaluation,
    setting: Setting,
    resampled: Mapping[str, NDArray[np.float64]],
) -> TargetReport:
    classes = tuple(
        _class_report(name, place, evaluation, setting.confidence_threshold)
        for place, name in enumerate(annotations.categories)
    )
    thresholds = np.array([each.best.confidence_threshold if each.best else np.inf for each in classes], np.float32)
    operating = {
        key: detections.take(np.flatnonzero(detections.confidence >= thresholds[detections.class_id]))
        for key, detections in found.items()
    }
    answers = [run.answers[key] for key in annotations.pictures]
    stages = {"total": [answer.total_ms for answer in answers]} | {
        stage: [answer.stages_ms[stage] for answer in answers] for stage in answers[0].stages_ms
    }
    return TargetReport(
        name=run.target.name,
        digest=run.target.digest,
        iou_threshold=run.target.iou_threshold,
        metrics=dict(zip(METRICS, map(_known, evaluation.stats.tolist()), strict=True)),
        intervals={name: Interval.of(values) for name, values in resampled.items()},
        classes=classes,
        unmarked=tuple(name for name in run.target.class_names if name not in annotations.categories),
        confusion=tuple(map(tuple, confusion(annotations, operating).tolist())),
        latency={
            stage: Latency(float(np.median(values)), float(np.quantile(values, 0.95)))
            for stage, values in stages.items()
        },
    )


def _class_report(name: str, place: int, evaluation: Evaluation, lowest: float) -> ClassReport:
    matches = evaluation.matches[place]
    boxes = int(matches.boxes.sum())
    if not boxes:
        return ClassReport(name, boxes, None, None, None, None, ())
    precision = evaluation.precision[:, :, place]
    return ClassReport(
        name=name,
        boxes=boxes,
        ap50_95=float(precision.mean()),
        ap50=float(precision[0].mean()),
        ar=float(evaluation.recall[:, place].mean()),
        best=best_threshold(matches, lowest),
        precision50=tuple(precision[0].tolist()),
    )


def _known(value: float) -> float | None:
    """A number of pycocotools, for which -1 says that there is none."""
    return None if value < 0 else value
