"""What decoding a JPEG costs in all its pixels, and in as many as a model looks at, in turns, in one process."""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from arguments import at_least
from rich.console import Console
from rich.table import Table

from detector_grpc import configured
from detector_grpc.vision.decode import open_encoded
from detector_grpc.vision.letterbox import Letterbox

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = ((1920, 1080), (4000, 3000))
QUALITY = 90
# Cameras leave about this much in, and it decides what the entropy decoder has to do, which cannot be reduced.
NOISE = 3.0


def photo(path: Path, width: int, height: int) -> bytes:
    """The picture in that size, with the noise of a camera."""
    image = cv2.resize(np.asarray(cv2.imread(str(path))), (width, height), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).normal(0, NOISE, image.shape)
    noisy = np.clip(image + noise, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", noisy, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))[1].tobytes()


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU time of one call, all threads."""
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e3


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", nargs="?", type=Path, default=configured.BUNDLED / "pictures" / "desk.jpg")
    parser.add_argument("--input", type=int, default=640, help="side of the model's input, pixels")
    parser.add_argument("--rounds", type=at_least(2), default=40)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)  # as in the server
    table = Table("JPEG", "KB", "decoded as", "all pixels, ms", "reduced, ms", "ratio (quartiles)")
    for width, height in SIZES:
        data = photo(arguments.photo, width, height)
        resized_wh = Letterbox.fit((width, height), (arguments.input, arguments.input), "letterbox").resized_wh
        rounds = []
        for _ in range(arguments.rounds):
            stored = open_encoded(data, width * height)
            rounds.append([cpu_ms(partial(stored.pixels, each)) for each in (stored.image_wh, resized_wh)])
        lower, middle, upper = statistics.quantiles((whole / reduced for whole, reduced in rounds), n=4)
        decoded_height, decoded_width, _ = stored.pixels(resized_wh).shape
        table.add_row(
            f"{width} x {height}",
            f"{len(data) // 1000}",
            f"{decoded_width} x {decoded_height}",
            *(f"{statistics.median(side):.1f}" for side in zip(*rounds, strict=True)),
            f"{middle:.2f} ({lower:.2f} to {upper:.2f})",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
