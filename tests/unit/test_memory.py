"""Decoding takes no more memory than the settings promise, whatever the format."""

from __future__ import annotations

import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from support import files
from support.files import encoded

from detector_grpc import configured, settings
from detector_grpc.vision.tags import Tag

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process's memory anew")

SIDE = 2000
NOISE_BYTES = 2 << 20  # what else a process allocates meanwhile

# Prints how much more memory the process held at most while it decoded the file than before.
MEASURE = """
import pathlib, sys
from detector_grpc.vision.decode import open_encoded

def held(key):
    (line,) = (each for each in open("/proc/self/status") if each.startswith(key))
    return int(line.split()[1]) * 1024

small, file = (pathlib.Path(name).read_bytes() for name in sys.argv[1:])
open_encoded(small, 10**8).pixels((100, 100))
before = held("VmRSS")
pathlib.Path("/proc/self/clear_refs").write_text("5")
stored = open_encoded(file, 10**8)
stored.pixels(stored.image_wh)
print(held("VmHWM") - before)
"""


def smooth(channels: int) -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 256, (SIDE // 32, SIDE // 32, channels), np.uint8)
    return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def deep(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.uint16) * np.uint16(257)


def quickly(data: bytes) -> bytes:
    return zlib.compress(data, 1)


LYING = {Tag.ORIENTATION: [6]}
DEFLATE = {Tag.COMPRESSION: [8]}
WRITERS = {
    "jpeg": lambda: files.jpeg_with(encoded(".jpg", smooth(3)), b"Exif\0\0" + files.exif(6)),
    "progressive jpeg": lambda: encoded(
        ".jpg", smooth(3), cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111
    ),
    "png of 16 bits": lambda: files.png_with(
        encoded(".png", deep(smooth(4)), cv2.IMWRITE_PNG_COMPRESSION, 1), files.png_chunk(b"eXIf", files.exif(6))
    ),
    "lossy webp": lambda: encoded(".webp", smooth(4), cv2.IMWRITE_WEBP_QUALITY, 80),
    "lossless webp": lambda: encoded(".webp", smooth(4)),
    "bmp": lambda: encoded(".bmp", smooth(4)),
    "tiff of strips": lambda: encoded(".tif", smooth(3)),
    "tiff of one strip": lambda: files.tiff(smooth(3), DEFLATE | LYING, packed=quickly),
    "tiff of one strip of 16 bits": lambda: files.tiff(deep(smooth(4)), DEFLATE | LYING, packed=quickly),
    "tiff of one strip of 16 bits without compression": lambda: files.tiff(deep(smooth(4)), LYING),
    "tiff of planes of 16 bits": lambda: files.tiff(deep(smooth(4)), DEFLATE, packed=quickly, planar=True),
    "tiff of one tile": lambda: files.tiff(deep(smooth(4)), DEFLATE, packed=quickly, tile=(SIDE, SIDE)),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_of_every_kind_a_picture_stays_within_the_promise(kind: str, tmp_path: Path) -> None:
    data = WRITERS[kind]()
    (tmp_path / "picture").write_bytes(data)
    (tmp_path / "small").write_bytes(encoded(".png", np.zeros((8, 8, 3), np.uint8)))
    promised = [
        configured.request_memory_bytes(settings.load({"limits.max_pixels": pixels, "runtime.workers": 1}))
        for pixels in (1, 1 + SIDE * SIDE)
    ]

    done = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path / "small", tmp_path / "picture"],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    # Of the file there are two more copies at most; the promise counts those with the messages.
    assert int(done.stdout) - 2 * len(data) < promised[1] - promised[0] + NOISE_BYTES
    assert int(done.stdout) > 5 * SIDE * SIDE  # or nothing was measured
