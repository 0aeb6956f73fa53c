"""Score model versions on photos: codes that fill the frame, small codes in wide scenes, and scenes without a code.

    python examples/codes/score.py --codes ../shared/data/codes --photos ../shared/data/photos --wide wide VERSION...

The average precision is taken at IoU .5 over all boxes, as is usual; what is found, missed and made up at the
thresholds that the manifest sets. Two versions are compared on the same pictures, with an interval for the difference.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from detector_grpc.coco import read_annotations
from detector_grpc.evaluation.judge import judge
from detector_grpc.evaluation.report import Setting, Skipped
from detector_grpc.evaluation.target import OfflineTarget, look_at_all
from detector_grpc.serving import repository
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.session import OnnxFile, OnnxSession

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detector_grpc.coco import Annotations
    from detector_grpc.evaluation.report import Report
    from detector_grpc.evaluation.target import Run

MAX_PIXELS = 100_000_000
ALL_BOXES = RequestedOptions(confidence_threshold=0.005, max_detections=100)
SETTING = Setting(0.005, None, False, 100, 1, 1000, 0)  # noqa: FBT003 - one label a box


def look(folder: Path, options: RequestedOptions, pictures: Mapping[int, Path]) -> Run:
    """Show pictures to a version, one after the other."""
    open_file = partial(OnnxFile, open_session=partial(OnnxSession, provider="CPUExecutionProvider"))
    target = OfflineTarget(folder.name, repository.at(folder), open_file, MAX_PIXELS, options)
    return look_at_all(target, pictures, 1, lambda: None)


def score(folders: Sequence[Path], file: Path) -> Report:
    """Judge the versions by annotations beside which the pictures lie in `images`."""
    annotations = read_annotations(file)
    pictures = {key: file.parent / "images" / name for key, name in annotations.pictures.items()}
    runs = [look(folder, ALL_BOXES, pictures) for folder in folders]
    return judge(annotations, runs, SETTING, Skipped({}, {}))


def show_precision(console: Console, reports: Mapping[str, Report], names: Sequence[str]) -> None:
    """Print AP50 with intervals, by set and class."""
    table = Table("AP50", "boxes", *names, title="in 95 of 100 drawings of other pictures it lies in the brackets")
    for title, report in reports.items():
        means = []
        for target in report.targets:
            interval = target.intervals["mAP50"]
            means.append(f"{target.metrics['mAP50']:.3f} ({interval.low:.3f} to {interval.high:.3f})")
        table.add_row(f"[bold]{title}", str(report.boxes), *means)
        for number, each in enumerate(report.targets[0].classes):
            values = [target.classes[number].ap50 or 0.0 for target in report.targets]
            table.add_row(f"  {each.name}", str(each.boxes), *(f"{value:.3f}" for value in values))
        if "mAP50" in report.differences:
            each = report.differences["mAP50"]
            told = f"{each.value:+.3f} ({each.interval.low:+.3f} to {each.interval.high:+.3f})"
            table.add_row("  second against first", "", "", told)
    console.print(table)


def operating_point(folder: Path, annotations: Annotations, images: Path, photos: Sequence[Path]) -> list[str]:
    """Return recall and precision on `annotations`, and the boxes in pictures without a code, at its own options."""
    marked = {box.picture_id for box in annotations.boxes}
    empty = {key: images / name for key, name in annotations.pictures.items() if key not in marked}
    run = look(folder, RequestedOptions(), {key: images / name for key, name in annotations.pictures.items()})
    found = true = 0
    for key in marked:
        boxes = [(box, box.category) for box in annotations.boxes if box.picture_id == key]
        detections = run.answers[key].detections
        found += len(detections)
        for xyxy, class_id in zip(detections.xyxy, detections.class_id, strict=True):
            name = run.target.class_names[class_id]
            match = next((each for each in boxes if each[1] == name and _iou(xyxy, each[0].xywh) >= 0.5), None)
            if match:
                boxes.remove(match)
                true += 1
    without = [len(run.answers[key].detections) for key in empty]
    others = look(folder, RequestedOptions(), dict(enumerate(photos)))
    in_photos = [len(answer.detections) for answer in others.answers.values()]
    return [
        f"{true / len(annotations.boxes):.3f}",
        f"{true / max(1, found):.3f}",
        f"{sum(without)} in {np.count_nonzero(without)} of {len(empty)}",
        f"{sum(in_photos)} in {np.count_nonzero(in_photos)} of {len(photos)}",
    ]


def cpu_ms(folder: Path, photos: Sequence[Path]) -> float:
    """Return the CPU time of a picture in ms, decoded and detected in."""
    pictures = dict(enumerate(photos))
    look(folder, RequestedOptions(), pictures)
    started = time.process_time()
    look(folder, RequestedOptions(), pictures)
    return (time.process_time() - started) / len(photos) * 1e3


def _iou(xyxy: Sequence[float], xywh: tuple[float, float, float, float]) -> float:
    x1, y1, x2, y2 = xywh[0], xywh[1], xywh[0] + xywh[2], xywh[1] + xywh[3]
    wide, high = min(x2, xyxy[2]) - max(x1, xyxy[0]), min(y2, xyxy[3]) - max(y1, xyxy[1])
    both = max(0.0, wide) * max(0.0, high)
    return float(both / ((x2 - x1) * (y2 - y1) + (xyxy[2] - xyxy[0]) * (xyxy[3] - xyxy[1]) - both))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Score detectors of codes on photos.")
    parser.add_argument("versions", type=Path, nargs="+", help="folders with model.onnx; two are compared")
    parser.add_argument("--codes", type=Path, required=True, help="folder of photos of codes, with annotations.json")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos without any code")
    parser.add_argument("--wide", type=Path, help="folder that wide_scenes.py made")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    console = Console(width=120)
    names = [folder.name for folder in options.versions]
    files = {"codes": options.codes / "annotations.json"}
    if options.wide:
        for file in sorted(options.wide.glob("annotations*.json")):
            size = file.stem.removeprefix("annotations").removeprefix("-")
            files[f"wide scenes, {size} %" if size else "wide scenes"] = file
    show_precision(console, {title: score(options.versions, file) for title, file in files.items()}, names)
    photos = sorted(options.photos.glob("*.jpg"))
    table = Table("at the thresholds of the manifest", "recall", "precision", "false: codes", "false: photos", "CPU-ms")
    annotations = read_annotations(files["codes"])
    for folder in options.versions:
        told = operating_point(folder, annotations, options.codes / "images", photos)
        table.add_row(folder.name, *told, f"{cpu_ms(folder, photos):.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
