"""Any bytes are a picture or an error of ours, and nothing else; and leave nothing behind."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector_grpc.errors import DetectorError
from detector_grpc.vision.decode import decode

INPUTS = 50_000
MAX_PIXELS = 64 * 64
OUTCOMES = {"a picture", "IMAGE_UNDECODABLE", "IMAGE_TOO_LARGE", "IMAGE_EMPTY"}

pytestmark = pytest.mark.usefixtures("quiet_decoders")


def corpus() -> list[bytes]:
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 256, (5, 6, 3), np.uint8), (48, 40))
    grey = picture[:, :, 0]

    def file(suffix: str, stored: np.ndarray, *flags: int) -> bytes:
        return cv2.imencode(suffix, stored, flags)[1].tobytes()

    baseline = file(".jpg", picture)
    return [
        baseline,
        file(".jpg", picture, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        file(".jpg", picture, cv2.IMWRITE_JPEG_RST_INTERVAL, 2, cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        file(".jpg", grey),
        with_exif(baseline),
        file(".png", picture),
        file(".png", grey),
        file(".png", grey.astype(np.uint16) * 257),
        file(".png", picture.astype(np.uint16) * 257),
        file(".png", np.dstack([picture, grey])),
        with_palette(grey // 64),
    ]


def with_exif(file: bytes) -> bytes:
    """The JPEG with an EXIF segment of three tags, one of which says that it lies on its side."""
    tags = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHII", 0x010F, 2, 4, 0x00746573) * 2
    exif = b"Exif\x00\x00II" + struct.pack("<HIH", 42, 8, 3) + tags + bytes(4)
    return file[:2] + struct.pack(">BBH", 0xFF, 0xE1, len(exif) + 2) + exif + file[2:]


def with_palette(indices: np.ndarray) -> bytes:
    def chunk(kind: bytes, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))

    height, width = indices.shape
    rows = b"".join(b"\x00" + row.tobytes() for row in indices)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", bytes(range(12)))
        + chunk(b"tRNS", b"\x80")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def outcome(data: bytes) -> str:
    """What became of the bytes; raises whatever is neither a picture nor an error of ours."""
    try:
        picture = decode(data, MAX_PIXELS)
    except DetectorError as error:
        return error.reason
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    height, width, channels = picture.shape
    assert channels == 3
    assert 0 < height * width <= MAX_PIXELS
    return "a picture"


@pytest.mark.timeout(300)
def test_damaged_files_are_a_picture_or_an_error_and_leave_no_memory_behind(mutator: Any, memory: Any) -> None:
    seeds = corpus()
    assert {outcome(seed) for seed in seeds} == {"a picture"}
    watched, outcomes = memory(INPUTS), Counter[str]()
    for data in mutator(seeds).inputs(INPUTS):
        outcomes[outcome(data)] += 1
        watched.tick()
    watched.assert_flat()
    # That all of them are met often says that the damage is neither too little nor too much.
    assert outcomes.total() == INPUTS
    assert outcomes.keys() == OUTCOMES
    assert min(outcomes["a picture"], outcomes["IMAGE_TOO_LARGE"] * 10, outcomes["IMAGE_UNDECODABLE"]) > INPUTS // 20


starts = st.sampled_from([b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x10JFIF", b"\x89PNG\r\n\x1a\n"])


@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(starts, st.binary(max_size=200))
def test_any_bytes_are_a_picture_or_an_error(start: bytes, data: bytes) -> None:
    assert outcome(start + data) in OUTCOMES
