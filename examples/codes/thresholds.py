"""Choose the thresholds of a version on drawn pictures, so that few of the boxes that it returns are false.

    python examples/codes/thresholds.py --annotations runs/validation/part-000/annotations.json runs/models/codes/v2

prints, as a block for the manifest, for each class the lowest threshold at which the wanted part of its boxes is right.
Drawn pictures are full of look-alikes and of codes that hardly can be seen, so thresholds that are chosen on them are
rather too high than too low for photos; photos have no part in it, since they are what the version is judged by.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from score import ALL_BOXES, look

from detector_grpc.coco import read_annotations
from detector_grpc.evaluation.reference import evaluate

if TYPE_CHECKING:
    from detector_grpc.evaluation.reference import ClassMatches


def lowest_threshold(matches: ClassMatches, precision: float) -> tuple[float, float, float]:
    """Return the lowest threshold above which that part of the boxes is true at IoU .5, and precision and recall there.

    Where no threshold is high enough, it is that of the most confident box.
    """
    true = np.cumsum(matches.is_true[0])
    reached = true / np.arange(1, len(true) + 1)
    places = np.flatnonzero(reached >= precision)
    last = int(places[-1]) if len(places) else 0
    return float(matches.confidence[last]), float(reached[last]), float(true[last] / matches.boxes.sum())


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Choose thresholds on drawn pictures.")
    parser.add_argument("version", type=Path, help="folder with model.onnx")
    parser.add_argument("--annotations", type=Path, required=True, help="of drawn pictures that it never learnt from")
    parser.add_argument("--precision", type=float, default=0.98, help="part of the boxes that is to be right")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    annotations = read_annotations(options.annotations)
    images = options.annotations.parent / "images"
    run = look(options.version, ALL_BOXES, {key: images / name for key, name in annotations.pictures.items()})
    found = {key: answer.detections for key, answer in run.answers.items()}
    print("  class_confidence_thresholds:")
    for name, matches in zip(annotations.categories, evaluate(annotations, found).matches, strict=True):
        threshold, precision, recall = lowest_threshold(matches, options.precision)
        print(f"    {name}: {threshold:.2f} # precision {precision:.3f}, recall {recall:.3f} of {matches.boxes.sum()}")


if __name__ == "__main__":
    main()
