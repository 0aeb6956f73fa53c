"""What is kept from a decoder because it would cost far more than the picture is worth."""

from __future__ import annotations

import re
import struct
import zlib

import cv2
import numpy as np
import pytest

from detector_grpc.errors import ImageUndecodable
from detector_grpc.vision import jpeg, png
from detector_grpc.vision.decode import decode

MAX_PIXELS = 1_000_000
PICTURE = np.random.default_rng(0).integers(0, 256, (30, 70, 3), np.uint8)
PROGRESSIVE = cv2.imencode(".jpg", PICTURE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
PNG = cv2.imencode(".png", PICTURE)[1].tobytes()
END_OF_HEADER = 33


def chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def with_chunks(*chunks: bytes) -> bytes:
    return PNG[:END_OF_HEADER] + b"".join(chunks) + PNG[END_OF_HEADER:]


def with_scans(count: int) -> bytes:
    """A progressive JPEG of so many scans: its last one again and again."""
    scans = [found.start() for found in re.finditer(rb"\xff\xda", PROGRESSIVE)]
    last = PROGRESSIVE[scans[-1] : -2]
    return PROGRESSIVE[:-2] + last * (count - len(scans)) + PROGRESSIVE[-2:]


class TestJpeg:
    def test_of_as_many_scans_as_allowed_is_decoded(self) -> None:
        assert decode(with_scans(jpeg.MAX_SCANS), MAX_PIXELS).shape == PICTURE.shape

    @pytest.mark.parametrize("count", [jpeg.MAX_SCANS + 1, 50_000])
    def test_of_more_scans_is_refused(self, count: int) -> None:
        with pytest.raises(ImageUndecodable, match="more than 100 scans"):
            decode(with_scans(count), MAX_PIXELS)

    def test_may_be_followed_by_anything(self) -> None:
        film = b"\xff\xda\x00\x02" * 1000  # phones put one behind the picture
        assert np.array_equal(decode(PROGRESSIVE + film, MAX_PIXELS), decode(PROGRESSIVE, MAX_PIXELS))

    def test_may_have_anything_in_its_segments(self) -> None:
        profile = struct.pack(">BBH", 0xFF, 0xE2, 40_002) + b"\xff\xda\x00\x02" * 10_000
        assert np.array_equal(
            decode(PROGRESSIVE[:2] + profile + PROGRESSIVE[2:], MAX_PIXELS), decode(PROGRESSIVE, MAX_PIXELS)
        )


class TestPng:
    def test_of_nothing_but_pixels_is_kept_as_it_is(self) -> None:
        assert png.harmless(PNG) == PNG

    @pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"tEXt", b"iCCP", b"acTL", b"fcTL", b"fdAT", b"abCd"])
    def test_loses_what_no_pixel_depends_on(self, kind: bytes) -> None:
        assert png.harmless(with_chunks(chunk(kind, b"x\0\0" + bytes(100)))) == PNG

    @pytest.mark.parametrize("kind", [b"PLTE", b"tRNS", b"eXIf"])
    def test_keeps_what_colours_and_orientation_depend_on(self, kind: bytes) -> None:
        data = with_chunks(chunk(kind, bytes(6)))
        assert png.harmless(data) == data

    @pytest.mark.parametrize("length", [len(PNG), 2**31 - 1, 2**32 - 1])
    def test_with_a_chunk_longer_than_the_file_is_refused(self, length: int) -> None:
        data = PNG[:END_OF_HEADER] + struct.pack(">I4s", length, b"IDAT") + PNG[END_OF_HEADER:]
        with pytest.raises(ImageUndecodable, match=f"{len(data)} bytes ends within a chunk"):
            png.harmless(data)

    def test_of_chunks_without_end_is_refused(self) -> None:
        with pytest.raises(ImageUndecodable, match="more than 65536 chunks"):
            png.harmless(with_chunks(*[chunk(b"tEXt", b"")] * 70_000))
