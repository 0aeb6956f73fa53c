"""Images a second and milliseconds of CPU of one version in ONNX Runtime and in OpenVINO, with the threads of a server.

    python benchmarks/openvino_bf16.py models/street/v1 photos/*.jpg

Two workers, or as many as there are processors, each look at one picture after the other, decoding included, as those
of a server do. All take turns in short rounds; the ratios are medians of the rounds. What bfloat16 finds is said by
`detector-grpc models optimize --form bf16`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from detector_grpc.serving import repository
from detector_grpc.serving.cpu import cpu_limit
from detector_grpc.serving.manifest import read_manifest
from detector_grpc.serving.openvino import OpenVinoSession, has_bf16
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage, Pipeline
from detector_grpc.serving.session import OnnxFile, OnnxSession
from detector_grpc.serving.spec import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PIXELS = 2**26
NAMES = ("ONNX Runtime float32", "OpenVINO float32", "OpenVINO bfloat16")


def pipelines(folder: Path, workers: int) -> dict[str, Pipeline]:
    """The version in each runtime."""
    source = repository.at(folder)
    manifest = read_manifest(source.manifest_path)
    opened = {}
    for name in NAMES:
        opening = OnnxSession if name.startswith("ONNX") else partial(OpenVinoSession, streams=workers)
        with closing(OnnxFile(source.path, open_session=opening)) as file:
            spec = resolve(manifest, file)
            opened[name] = Pipeline(spec, file.taking(spec.input, bf16="bfloat16" in name), MAX_PIXELS)
    return opened


def measure(pipeline: Pipeline, pictures: Sequence[bytes], workers: int) -> tuple[float, float]:
    """Pictures a second, and milliseconds of CPU of one."""
    asked = RequestedOptions()
    started, cpu_started = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(lambda picture: pipeline.detect(EncodedImage(picture), asked), pictures))
    cpu_s, wall_s = time.process_time() - cpu_started, time.perf_counter() - started
    return len(pictures) / wall_s, cpu_s * 1e3 / len(pictures)


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", type=Path)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--each", type=int, default=24, help="pictures in a round")
    options = parser.parse_args()
    if not has_bf16():
        raise SystemExit("this processor does not compute in bfloat16")
    cv2.setNumThreads(1)  # as in a server
    workers = cpu_limit()
    opened = pipelines(options.version, workers)
    pictures = [path.read_bytes() for path in islice(cycle(options.pictures), options.each)]
    rounds = [
        {name: measure(pipeline, pictures, workers) for name, pipeline in opened.items()}
        for _ in range(options.rounds + 1)
    ][1:]  # the first warms up
    print(f"{'':22}{'images/s':>10}{'CPU-ms':>8}   against {NAMES[0]}")
    for name in NAMES:
        rates, cpu = zip(*(each[name] for each in rounds), strict=True)
        faster = statistics.median(each[name][0] / each[NAMES[0]][0] for each in rounds)
        less = statistics.median(each[NAMES[0]][1] / each[name][1] for each in rounds)
        print(f"{name:22}{statistics.median(rates):10.1f}{statistics.median(cpu):8.1f}", end="")
        print(f"   {faster:.2f} times the images, {less:.2f} times as many for the same CPU")


if __name__ == "__main__":
    main()
