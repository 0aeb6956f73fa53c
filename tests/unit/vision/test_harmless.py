"""What is kept from a decoder because it would cost far more than the picture is worth."""

from __future__ import annotations

import re
import struct

import cv2
import numpy as np
import pytest
from support import files
from support.files import encoded, png_chunk, png_with, zlib_bomb

from detector_grpc.errors import ImageUndecodable
from detector_grpc.vision import jpeg, png
from detector_grpc.vision.decode import open_encoded

MAX_PIXELS = 1_000_000
PICTURE = np.random.default_rng(0).integers(0, 256, (30, 70, 3), np.uint8)
PROGRESSIVE = encoded(".jpg", PICTURE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
PNG = encoded(".png", PICTURE)


def with_scans(count: int) -> bytes:
    """A progressive JPEG of so many scans: its last one again and again."""
    scans = [found.start() for found in re.finditer(rb"\xff\xda", PROGRESSIVE)]
    last = PROGRESSIVE[scans[-1] : -2]
    return PROGRESSIVE[:-2] + last * (count - len(scans)) + PROGRESSIVE[-2:]


def decode(file: bytes) -> np.ndarray:
    stored = open_encoded(file, MAX_PIXELS)
    return stored.pixels(stored.image_wh)


class TestJpeg:
    def test_of_more_segments_than_any_encoder_writes_is_refused_at_once(self) -> None:
        empty = struct.pack(">BBH", 0xFF, 0xE5, 2)
        whole = PROGRESSIVE[:2] + empty * 1000 + PROGRESSIVE[2:]
        assert decode(whole).shape == PICTURE.shape
        with pytest.raises(ImageUndecodable, match="more than 4096 segments"):
            decode(PROGRESSIVE[:2] + empty * 5000 + PROGRESSIVE[2:])

    def test_of_as_many_scans_as_allowed_is_decoded(self) -> None:
        assert decode(with_scans(jpeg.MAX_SCANS)).shape == PICTURE.shape

    @pytest.mark.parametrize("count", [jpeg.MAX_SCANS + 1, 50_000])
    def test_of_more_scans_is_refused(self, count: int) -> None:
        with pytest.raises(ImageUndecodable, match="more than 100 scans"):
            decode(with_scans(count))

    def test_may_be_followed_by_anything(self) -> None:
        film = b"\xff\xda\x00\x02" * 1000  # phones put one behind the picture
        assert np.array_equal(decode(PROGRESSIVE + film), decode(PROGRESSIVE))

    def test_may_have_anything_in_its_segments(self) -> None:
        profile = struct.pack(">BBH", 0xFF, 0xE2, 40_002) + b"\xff\xda\x00\x02" * 10_000
        assert np.array_equal(decode(PROGRESSIVE[:2] + profile + PROGRESSIVE[2:]), decode(PROGRESSIVE))


class TestPng:
    def test_of_nothing_but_pixels_is_kept_as_it_is(self) -> None:
        assert png.harmless(PNG) == PNG

    @pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"abCd"])
    def test_loses_what_no_colour_depends_on(self, kind: bytes) -> None:
        assert png.harmless(png_with(PNG, png_chunk(kind, b"x\0\0" + bytes(100)))) == PNG

    def test_keeps_its_palette(self) -> None:
        data = png_with(PNG, png_chunk(b"PLTE", bytes(6)))
        assert png.harmless(data) == data

    @pytest.mark.parametrize("length", [len(PNG), 2**31 - 1, 2**32 - 1])
    def test_with_a_chunk_longer_than_the_file_is_refused(self, length: int) -> None:
        data = png_with(PNG, struct.pack(">I4s", length, b"IDAT"))
        with pytest.raises(ImageUndecodable, match=f"{len(data)} bytes ends within a chunk"):
            png.harmless(data)

    def test_of_chunks_without_end_is_refused(self) -> None:
        with pytest.raises(ImageUndecodable, match="more than 65536 chunks"):
            png.harmless(png_with(PNG, *[png_chunk(b"tEXt", b"")] * 70_000))

    @pytest.mark.parametrize("adam7", [0, 1])
    def test_that_unpacks_to_far_more_than_its_size_is_refused(self, adam7: int) -> None:
        packed = zlib_bomb(1200)
        assert len(packed) > 1 << 20
        halves = (png_chunk(b"IDAT", packed[: 1 << 19]), png_chunk(b"IDAT", packed[1 << 19 :]))
        with pytest.raises(ImageUndecodable, match="the PNG picture unpacks to more than 400 bytes"):
            png.harmless(files.png(8, 8, 2, b"", *halves, adam7=adam7))

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_that_is_large_is_decoded(self, dtype: type, channels: int) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (900, 1300, channels), np.uint8).astype(dtype)
        file = encoded(".png", noise.squeeze(), cv2.IMWRITE_PNG_COMPRESSION, 1)
        assert len(file) > 1 << 20
        assert open_encoded(file, 2_000_000).pixels((1, 1)).shape == (900, 1300, 3)

    def test_that_is_large_and_interlaced_is_decoded(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (900, 1300), np.uint8)
        file = files.png(1300, 900, 0, files.interlaced_rows(noise), adam7=1)
        np.testing.assert_array_equal(open_encoded(file, 2_000_000).pixels((1, 1))[:, :, 0], noise)

    def test_that_is_large_and_damaged_is_refused(self) -> None:
        file = files.png(1300, 900, 0, np.random.default_rng(0).bytes(900 * 1301))
        middle = len(file) // 2
        with pytest.raises(ImageUndecodable, match="the PNG picture has damaged pixels"):
            png.harmless(file[:middle] + bytes(1000) + file[middle + 1000 :])
