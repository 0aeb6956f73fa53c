"""Any bytes are a picture or an error of ours, and nothing else; and leave nothing behind."""

from __future__ import annotations

import zlib
from collections import Counter
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import files
from support.files import encoded, exif

from detector_grpc.errors import DetectorError
from detector_grpc.vision.decode import open_encoded
from detector_grpc.vision.tags import Tag

INPUTS = 50_000  # of each format
MAX_PIXELS = 64 * 64
OUTCOMES = {"a picture", "IMAGE_UNDECODABLE", "IMAGE_TOO_LARGE", "IMAGE_EMPTY"}
WIDTH, HEIGHT = 48, 40
PICTURE = cv2.resize(np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8), (WIDTH, HEIGHT))
GREY = PICTURE[:, :, 0]
ALPHA = np.dstack([PICTURE, GREY])
ON_ITS_SIDE = exif(6)

pytestmark = pytest.mark.usefixtures("quiet_decoders")


def jpegs() -> list[bytes]:
    baseline = encoded(".jpg", PICTURE)
    return [
        baseline,
        encoded(".jpg", PICTURE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        encoded(".jpg", PICTURE, cv2.IMWRITE_JPEG_RST_INTERVAL, 2, cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        encoded(".jpg", GREY),
        files.jpeg_with(baseline, b"Exif\0\0" + ON_ITS_SIDE),
    ]


def pngs() -> list[bytes]:
    palette, transparency = files.png_chunk(b"PLTE", bytes(range(12))), files.png_chunk(b"tRNS", b"\x80")
    rows = b"".join(b"\0" + row.tobytes() for row in GREY // 64)
    return [
        *(encoded(".png", each) for each in (PICTURE, GREY, ALPHA)),
        *(encoded(".png", each.astype(np.uint16) * 257) for each in (PICTURE, GREY)),
        files.png(WIDTH, HEIGHT, 3, rows, palette, transparency),
        files.png(WIDTH, HEIGHT, 2, files.interlaced_rows(PICTURE), adam7=1),
        files.png_with(encoded(".png", PICTURE), files.png_chunk(b"eXIf", ON_ITS_SIDE)),
    ]


def webps() -> list[bytes]:
    stills = [
        encoded(".webp", PICTURE),
        encoded(".webp", ALPHA),
        encoded(".webp", PICTURE, cv2.IMWRITE_WEBP_QUALITY, 60),
        encoded(".webp", ALPHA, cv2.IMWRITE_WEBP_QUALITY, 60),
    ]
    frames = [files.webp_frame(still, WIDTH, HEIGHT) for still in stills[:1] + stills[2:3]]
    return [
        *stills,
        files.webp_with(stills[0], WIDTH, HEIGHT, files.webp_chunk(b"EXIF", ON_ITS_SIDE)),
        files.webp(files.webp_canvas(WIDTH, HEIGHT), files.webp_chunk(b"ANIM", bytes(6)), *frames),
    ]


def bmps() -> list[bytes]:
    palette = np.random.default_rng(0).bytes(1024)
    lengths = b"".join(bytes([20, row, 0, 4, 1, 2, 3, 4, 24, row, 0, 0]) for row in range(HEIGHT)) + b"\0\1"
    return [
        encoded(".bmp", PICTURE),
        encoded(".bmp", ALPHA),
        encoded(".bmp", GREY),
        files.bmp(WIDTH, -HEIGHT, 16, files.bmp_rows(GREY.astype(np.uint16) * 257)),
        files.bmp(WIDTH, HEIGHT, 4, files.bmp_rows(GREY[:, ::2]), palette=palette[:64]),
        files.bmp(WIDTH, HEIGHT, 1, files.bmp_rows(GREY[:, ::8]), palette=palette[:8]),
        files.bmp(WIDTH, HEIGHT, 8, lengths, 1, palette),
    ]


def tiffs() -> list[bytes]:
    deflate = {Tag.COMPRESSION: [8]}
    palette = {Tag.COLOR_MAP: list(range(768))}
    return [
        encoded(".tif", PICTURE),
        encoded(".tif", GREY.astype(np.uint16) * 257),
        files.tiff(ALPHA, {Tag.EXTRA_SAMPLES: [2], Tag.ORIENTATION: [6]}, rows=7, byte_order=">"),
        files.tiff(PICTURE, deflate, tile=(32, 32), packed=zlib.compress),
        files.tiff(PICTURE, rows=9, planar=True),
        files.tiff(PICTURE, deflate | {Tag.PREDICTOR: [2]}, rows=9, packed=zlib.compress),
        files.tiff(GREY, palette, photometric=3),
        files.tiff(np.packbits(GREY > 127, axis=1), {Tag.WIDTH: [WIDTH], Tag.BITS_PER_SAMPLE: [1]}, photometric=0),
        files.tiff(
            ALPHA, {Tag.COMPRESSION: [32773]}, photometric=5, packed=lambda data: b"\x81\7" * (len(data) // 128)
        ),
    ]


SEEDS = {"JPEG": jpegs, "PNG": pngs, "WebP": webps, "BMP": bmps, "TIFF": tiffs}


def outcome(data: bytes) -> str:
    """What became of the bytes; raises whatever is neither a picture nor an error of ours."""
    whole = len(data) % 2 == 0
    try:
        stored = open_encoded(data, MAX_PIXELS)
        picture = stored.pixels(stored.image_wh if whole else (8, 8))
    except DetectorError as error:
        return error.reason
    width, height = stored.image_wh
    assert 0 < width * height <= MAX_PIXELS
    assert picture.dtype == np.uint8
    assert picture.shape[2:] == (3,)
    assert picture.shape[:2] == (height, width) or (not whole and picture.size < 3 * width * height)
    return "a picture"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files_are_a_picture_or_an_error_and_leave_no_memory_behind(
    mutator: Any, memory: Any, name: str
) -> None:
    seeds = SEEDS[name]()
    assert {outcome(seed) for seed in seeds} == {"a picture"}
    watched, outcomes = memory(INPUTS), Counter[str]()
    for data in mutator(seeds).inputs(INPUTS):
        outcomes[outcome(data)] += 1
        watched.tick()
    watched.assert_flat()
    # That all of them are met often says that the damage is neither too little nor too much.
    assert outcomes.total() == INPUTS
    assert outcomes.keys() == OUTCOMES
    assert min(outcomes["a picture"], outcomes["IMAGE_TOO_LARGE"] * 20, outcomes["IMAGE_UNDECODABLE"]) > INPUTS // 20


starts = st.sampled_from(
    [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x10JFIF", *(make()[0][:40] for make in SEEDS.values())]
)


@settings(
    max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(starts, st.binary(max_size=200))
def test_any_bytes_are_a_picture_or_an_error(start: bytes, data: bytes) -> None:
    assert outcome(start + data) in OUTCOMES
