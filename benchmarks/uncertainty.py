"""How well each measure of uncertainty tells in which pictures a model is wrong.

The error of a picture is 1 - F1 at IoU 0.5 of what the version answers at its own thresholds; a picture without objects
of which nothing is answered has none. Each measure is compared with it by Spearman's rank correlation, and with what
can be known of the answers alone: 1 - the least confidence among them, and of an answer of nothing 0, or 1, by which
every blank picture is as unsure as can be. Intervals hold 95 of 100 drawings of the pictures. The last column is how
often a picture with nothing but candidates below the threshold ranks above a blank one.

    python benchmarks/uncertainty.py --annotations photos/annotations.json models/street/v1
"""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import rankdata

from detector_grpc.coco import read_annotations
from detector_grpc.evaluation.bootstrap import Interval, draw_pictures
from detector_grpc.evaluation.reference import evaluate
from detector_grpc.serving import repository
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage
from detector_grpc.serving.registry import read_version
from detector_grpc.serving.session import OnnxFile
from detector_grpc.vision.detections import Detections
from detector_grpc.vision.uncertainty import MEASURES, Measures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from detector_grpc.coco import Annotations
    from detector_grpc.serving.pipeline import Result

MAX_PIXELS = 2**30
RESAMPLES = 5_000
ANSWERED = "1 - least confidence answered"
NOTHING = f"{ANSWERED}, 1 of nothing"


class Looked(NamedTuple):
    """What became of P pictures.

    Attributes:
        error: float64 (P,).
        told: By measure, float64 (P,).
        doubtful: bool (P,), whether something was seen and nothing answered.
    """

    error: NDArray[np.float64]
    told: Mapping[str, NDArray[np.float64]]
    doubtful: NDArray[np.bool_]


def look(annotations: Annotations, images: Path, model: Path) -> Looked:
    """Has a version look at all pictures; asked for the classes only that are marked."""
    loaded = read_version(repository.at(model), OnnxFile, MAX_PIXELS, Measures(dict.fromkeys(MEASURES, 1.0)))
    names = loaded.spec.class_names
    asked = RequestedOptions(classes=tuple(name for name in names if name in annotations.categories))
    with closing(loaded.pipeline) as pipeline:
        results = {
            key: pipeline.detect(EncodedImage((images / name).read_bytes()), asked)
            for key, name in track(annotations.pictures.items(), str(model), console=Console(stderr=True))
        }
    places = {name: place for place, name in enumerate(annotations.categories)}
    of_class = np.array([places.get(name, -1) for name in names], np.int32)
    found = {
        key: Detections(each.detections.xyxy, each.detections.confidence, of_class[each.detections.class_id])
        for key, each in results.items()
    }
    every = list(results.values())
    told = {name: np.array([each.uncertainty.measures[name] for each in every]) for name in MEASURES}
    nothing = np.array([len(each.detections) == 0 for each in every])
    told[ANSWERED], told[NOTHING] = (np.array([_least_confidence(each, of) for each in every]) for of in (0.0, 1.0))
    return Looked(_errors(annotations, found), told, nothing & (told["near_threshold"] > 0))


def _least_confidence(result: Result, of_nothing: float) -> float:
    confidence = result.detections.confidence
    return 1 - float(confidence.min()) if len(confidence) else of_nothing


def _errors(annotations: Annotations, found: Mapping[int, Detections]) -> NDArray[np.float64]:
    pictures = len(annotations.pictures)
    true, judged, boxes = (np.zeros(pictures) for _ in range(3))
    for matches in evaluate(annotations, found).matches:
        true += np.bincount(matches.picture[matches.is_true[0]], minlength=pictures)
        judged += np.bincount(matches.picture[~matches.is_ignored[0]], minlength=pictures)
        boxes += matches.boxes
    return np.where(judged + boxes > 0, 1 - 2 * true / np.maximum(judged + boxes, 1), 0.0)


def rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's, with the mean rank for equals; 0 where all are equal."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def table_of(looked: Looked, title: str) -> Table:
    """The measures, the best first."""
    drawn = [np.repeat(np.arange(len(each)), each) for each in draw_pictures(len(looked.error), RESAMPLES, 0)]
    resampled = {
        name: np.array([rank_correlation(values[each], looked.error[each]) for each in drawn])
        for name, values in looked.told.items()
    }
    rho = {name: rank_correlation(values, looked.error) for name, values in looked.told.items()}
    table = Table("measure", "rank correlation", "more than by answers alone", "doubtful above blank", title=title)
    for name in sorted(rho, key=lambda name: -rho[name]):
        own, more = (Interval.of(each) for each in (resampled[name], resampled[name] - resampled[ANSWERED]))
        above = looked.told[name][looked.doubtful] > 0
        table.add_row(
            name,
            f"{rho[name]:.2f} ({own.low:.2f} to {own.high:.2f})",
            f"{rho[name] - rho[ANSWERED]:+.2f} ({more.low:+.2f} to {more.high:+.2f})",
            f"{np.count_nonzero(above)} of {len(above)}",
        )
    return table


def main() -> None:
    """Measures, and prints a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", help="model files, or folders of versions")
    parser.add_argument("--annotations", type=Path, required=True, help="COCO annotations, with `images` beside them")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    annotations = read_annotations(arguments.annotations)
    for model in arguments.models:
        looked = look(annotations, arguments.annotations.parent / "images", model)
        wrong = np.count_nonzero(looked.error)
        title = f"{model}: {len(looked.error)} pictures, wrong in {wrong}, mean error {looked.error.mean():.2f}"
        Console(width=120).print(table_of(looked, title))


if __name__ == "__main__":
    main()
