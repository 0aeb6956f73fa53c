"""Which BMP files are handed to a decoder, and what of them."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from support import files

from detector_grpc.errors import ImageUndecodable
from detector_grpc.vision import bmp

WIDTH, HEIGHT = 50, 40
PICTURE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
ROWS = files.bmp_rows(PICTURE)
FILE = files.bmp(WIDTH, HEIGHT, 24, ROWS)


def assert_refused(file: bytes, why: str) -> None:
    with pytest.raises(ImageUndecodable, match=f"^the BMP picture.* {why}"):
        bmp.harmless(file)


def test_of_pixels_without_compression_is_kept_as_it_is() -> None:
    assert bmp.harmless(FILE) == FILE


@pytest.mark.parametrize("header_bytes", [0, 11, 16, 41, 2**31 - 1, 2**32 - 1])
def test_a_header_of_no_known_kind_is_refused(header_bytes: int) -> None:
    file = FILE[:14] + struct.pack("<I", header_bytes) + FILE[18:]
    with pytest.raises(ImageUndecodable, match=f"the BMP picture has a header of {header_bytes} bytes"):
        bmp.size(file)


def test_a_header_that_ends_at_any_byte_is_refused() -> None:
    for end in range(2, 54):
        with pytest.raises(ImageUndecodable, match="the BMP picture"):
            bmp.size(FILE[:end]) and bmp.harmless(FILE[:end])


@pytest.mark.parametrize(
    ("width", "height", "size"), [(-5, 4, (0, 4)), (-(2**31), 1, (0, 1)), (3, -(2**31), (3, 2**31))]
)
def test_sides_are_never_negative(width: int, height: int, size: tuple[int, int]) -> None:
    assert bmp.size(files.bmp(width, height, 24, b"")) == size


@pytest.mark.parametrize(
    ("bits", "compression"),
    [(0, 0), (2, 0), (48, 0), (65_535, 0), (4, 2), (24, 4), (24, 5), (32, 6), (24, 1), (8, 3), (8, 2**32 - 1)],
)
def test_other_compressions_are_refused_with_what_is_taken(bits: int, compression: int) -> None:
    file = files.bmp(WIDTH, HEIGHT, bits, ROWS, compression)
    assert_refused(file, rf"has {bits} bits a pixel in compression {compression}; taken are 1, 4, 8, 16")


def test_unusual_masks_of_16_bits_are_refused() -> None:
    masks = struct.pack("<III", 0xF00, 0xF0, 0xF)
    assert_refused(files.bmp(WIDTH, HEIGHT, 16, ROWS, 3, masks=masks), "taken are .* 16 \\(5-5-5 or 5-6-5\\)")


@pytest.mark.parametrize("start", [0, 13, 53, 55, len(FILE), 2**31, 2**32 - 1])
def test_pixels_that_are_not_all_within_the_file_are_refused(start: int) -> None:
    assert_refused(FILE[:10] + struct.pack("<I", start) + FILE[14:], "has not as many pixels as its header says")


@pytest.mark.parametrize(
    ("width", "height"), [(WIDTH + 2, HEIGHT), (WIDTH, HEIGHT + 1), (WIDTH, -HEIGHT - 1), (60_000, 60_000)]
)
def test_a_picture_with_fewer_pixels_than_it_says_is_refused(width: int, height: int) -> None:
    assert_refused(files.bmp(width, height, 24, ROWS), "has not as many pixels as its header says")
