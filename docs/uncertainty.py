"""Draws what docs/active-learning.md shows: what measures say, and of which pictures the bundled model is unsure.

python docs/uncertainty.py
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from matplotlib.figure import Figure

from detector_grpc.capture.sheet import Tile, contact_sheet
from detector_grpc.configured import BUNDLED, BUNDLED_MODEL
from detector_grpc.serving import repository
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage
from detector_grpc.serving.registry import read_version
from detector_grpc.serving.session import OnnxFile
from detector_grpc.vision.detections import Detections
from detector_grpc.vision.draw import LabelledBox
from detector_grpc.vision.encode import encode_jpeg
from detector_grpc.vision.heads.head import FLOOR, Candidates
from detector_grpc.vision.uncertainty import Measures

if TYPE_CHECKING:
    from cv2.typing import MatLike

    from detector_grpc.serving.registry import LoadedModel

IMAGES = Path(__file__).parent / "images"
MAX_PIXELS = 2**30
THRESHOLD = 0.25
CERTAINTY = 0.7
CURVES = ("expected_error", "least_confidence", "near_threshold", "entropy")
# How much of its pixels are left of a picture, and of its light.
WORSE = ((1.0, 1.0), (0.13, 1.0), (0.13, 0.2))


def draw_curves() -> None:
    """What each measure says of one object, by its confidence."""
    confidences = np.linspace(FLOOR, 1, 500, dtype=np.float32)
    plot = Figure(figsize=(7, 3.6), layout="constrained")
    axes = plot.subplots()
    for name in CURVES:
        axes.plot(confidences, [_of_one_object(name, each) for each in confidences], label=name)
    axes.axvline(THRESHOLD, color="grey", linestyle=":", linewidth=1)
    axes.text(THRESHOLD + 0.01, 0.95, "answered from here on", color="grey", fontsize=8)
    axes.axhline(1 - CERTAINTY, color="crimson", linestyle="--", linewidth=1)
    axes.text(
        0.27, 1 - CERTAINTY - 0.05, f"kept above (UNCERTAINTY_THRESHOLD={CERTAINTY})", color="crimson", fontsize=8
    )
    axes.set(xlabel="confidence of the only object", ylabel="uncertainty", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    plot.savefig(IMAGES / "uncertainty.svg", metadata={"Date": None})


def draw_sheet() -> None:
    """The bundled pictures, good and worse, by how unsure the bundled model is of them."""
    source = repository.at(BUNDLED / "models" / BUNDLED_MODEL / "v1")
    loaded = read_version(source, OnnxFile, MAX_PIXELS)
    with closing(loaded.pipeline):
        tiles = [
            _tile(loaded, worse, file.stem)
            for file in sorted((BUNDLED / "pictures").glob("*.jpg"))
            for worse in (_worse(cv2.imread(str(file)), *how) for how in WORSE)
        ]
    sheet = contact_sheet(tiles, len(WORSE))
    (IMAGES / "samples.jpg").write_bytes(encode_jpeg(cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), 80))


def _of_one_object(name: str, confidence: np.float32) -> float:
    box = Detections(np.array([[0, 0, 9, 9]], np.float32), np.array([confidence]), np.zeros(1, np.int32))
    candidates = Candidates(box, np.zeros(1, np.intp), None)
    return Measures({name: 1.0})(candidates, np.array([THRESHOLD], np.float32)).score


def _worse(bgr: MatLike, pixels: float, light: float) -> MatLike:
    height, width = bgr.shape[:2]
    small = cv2.resize(bgr, None, fx=pixels, fy=pixels, interpolation=cv2.INTER_AREA)
    return cv2.convertScaleAbs(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), alpha=light)


def _tile(loaded: LoadedModel, bgr: MatLike, name: str) -> Tile:
    result = loaded.pipeline.detect(EncodedImage(encode_jpeg(bgr)), RequestedOptions())
    found = result.detections
    boxes = [
        LabelledBox(tuple(xyxy), class_id, loaded.spec.class_names[class_id], confidence)
        for xyxy, confidence, class_id in zip(
            found.xyxy.tolist(), found.confidence.tolist(), found.class_id.tolist(), strict=True
        )
    ]
    kept = "kept" if 1 - result.uncertainty.score < CERTAINTY else "not kept"
    caption = f"{result.uncertainty.score:.2f}  {kept}  {name}"
    return Tile(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8), result.image_wh, boxes, caption)


if __name__ == "__main__":
    draw_curves()
    draw_sheet()
