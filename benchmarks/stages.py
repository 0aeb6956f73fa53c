"""What each stage of a picture's way costs: processor time of one thread, milliseconds, median.

The stages are run one after the other, as the pipeline runs them, in turns with the pipeline itself; what that costs
beyond all of them together is what holds them together. To compare two checkouts, run it in them in turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from arguments import at_least
from nets import NETS, write_repository
from overhead import PICTURES, VERSION, picture
from rich.console import Console
from rich.table import Table

from detector_grpc.serving.manifest import Manifest
from detector_grpc.serving.memory import use_one_heap
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage, Pipeline
from detector_grpc.serving.session import OnnxFile
from detector_grpc.serving.spec import resolve
from detector_grpc.vision import decode
from detector_grpc.vision.heads import HEADS
from detector_grpc.vision.nms import suppress
from detector_grpc.vision.uncertainty import DEFAULT_MEASURES, MOST_CANDIDATES

if TYPE_CHECKING:
    from detector_grpc.serving.session import Session
    from detector_grpc.serving.spec import ModelSpec

MAX_PIXELS = 2**30
STAGES = ("header", "decode", "letterbox", "model", "head", "uncertainty", "suppress", "map back")


def stages(spec: ModelSpec, session: Session, data: bytes) -> list[float]:
    """Milliseconds of each of STAGES."""
    options, names = spec.options, spec.class_names
    clock = [time.thread_time()]
    stored = decode.open_encoded(data, MAX_PIXELS)
    letterbox = spec.input.fit(stored.image_wh)
    clock.append(time.thread_time())
    image = stored.pixels(letterbox.resized_wh)
    clock.append(time.thread_time())
    canvas = letterbox.apply(image, spec.input.pad_value)
    clock.append(time.thread_time())
    (output,) = session.run(spec.input.feeds(canvas), spec.layout.outputs)
    clock.append(time.thread_time())
    head = HEADS[spec.layout.head]
    thresholds = options.thresholds(names)
    candidates = head.decode(
        [output[0]], thresholds, spec.input.hw, multi_label=options.multi_label, doubtful=MOST_CANDIDATES
    )
    clock.append(time.thread_time())
    DEFAULT_MEASURES(candidates, thresholds)
    clock.append(time.thread_time())
    boxes = candidates.boxes
    found = boxes.take(np.flatnonzero(boxes.confidence >= thresholds[boxes.class_id]))
    kept = suppress(found, options.iou_threshold, class_agnostic=False, max_detections=options.max_detections)
    clock.append(time.thread_time())
    letterbox.to_image(kept.xyxy)
    clock.append(time.thread_time())
    return [(after - before) * 1e3 for before, after in pairwise(clock)]


def pipeline_ms(pipeline: Pipeline, data: bytes) -> float:
    """Milliseconds of all of it."""
    started = time.thread_time()
    pipeline.detect(EncodedImage(data), RequestedOptions())
    return (time.thread_time() - started) * 1e3


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least(1), default=30)
    parser.add_argument("--nets", choices=NETS, nargs="+", default=list(NETS))
    parser.add_argument("--pictures", choices=PICTURES, nargs="+", default=list(PICTURES))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    use_one_heap()
    table = Table("CPU ms", *STAGES, "together", "pipeline")
    pictures = {kind: picture(kind) for kind in arguments.pictures}
    for net in arguments.nets:
        with tempfile.TemporaryDirectory() as folder:
            file = OnnxFile(write_repository(Path(folder), net) / net / VERSION / "model.onnx")
        spec = resolve(Manifest(head="cxcywh"), file)
        session = file.taking(spec.input)
        pipeline = Pipeline(spec, session, MAX_PIXELS)
        for kind, data in pictures.items():
            rounds = [(stages(spec, session, data), pipeline_ms(pipeline, data)) for _ in range(arguments.rounds)]
            each = [statistics.median(values) for values in zip(*(parts for parts, _ in rounds), strict=True)]
            together = statistics.median(sum(parts) for parts, _ in rounds)
            whole = statistics.median(whole for _, whole in rounds)
            table.add_row(f"{net}, {kind}", *(f"{value:.3f}" for value in (*each, together, whole)))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
