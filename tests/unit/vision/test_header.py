"""The size that is read before anything is allocated."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from detector_grpc.errors import ImageUndecodable
from detector_grpc.vision.header import FORMATS, Header, PictureFormat, read_header

JPEG, PNG = FORMATS
SOI = b"\xff\xd8"
START_OF_FRAME = [0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF]
LOOK_LIKE_START_OF_FRAME = {"DHT": 0xC4, "JPG": 0xC8, "DAC": 0xCC}


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def frame(width: int, height: int, marker: int = 0xC0) -> bytes:
    return segment(marker, struct.pack(">BHHB", 8, height, width, 3) + bytes(9))


def png(width: int, height: int, first_chunk: bytes = b"IHDR") -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, first_chunk, width, height, 8, 2, 0, 0, 0, 0)


def encoded(suffix: str, *flags: int) -> bytes:
    picture = np.zeros((30, 70, 3), np.uint8)
    return cv2.imencode(suffix, picture, flags)[1].tobytes()


@pytest.mark.parametrize("marker", START_OF_FRAME)
def test_every_start_of_frame_marker_tells_the_size(marker: int) -> None:
    assert read_header(SOI + frame(640, 480, marker)) == Header(JPEG, 640, 480)


@pytest.mark.parametrize("marker", LOOK_LIKE_START_OF_FRAME.values(), ids=LOOK_LIKE_START_OF_FRAME)
def test_tables_between_the_start_of_frame_markers_are_skipped(marker: int) -> None:
    decoy = segment(marker, struct.pack(">BHHB", 8, 1, 1, 3))
    assert read_header(SOI + decoy + frame(640, 480)) == Header(JPEG, 640, 480)


def test_size_is_found_behind_several_application_segments() -> None:
    before = b"".join(segment(0xE0 + n, b"\x00" * (1000 * n)) for n in range(16)) + segment(0xFE, b"a comment")
    assert read_header(SOI + before + frame(17, 19)) == Header(JPEG, 17, 19)


def test_a_thumbnail_within_a_segment_does_not_tell_the_size() -> None:
    thumbnail = segment(0xE1, b"Exif\x00\x00" + SOI + frame(160, 120))
    assert read_header(SOI + thumbnail + frame(4000, 3000)) == Header(JPEG, 4000, 3000)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_fill_bytes_may_precede_every_marker(count: int) -> None:
    fill = b"\xff" * count
    data = SOI + fill + segment(0xE0, b"JFIF") + fill + frame(640, 480)
    assert read_header(data) == Header(JPEG, 640, 480)


@pytest.mark.parametrize("marker", [0x01, *range(0xD0, 0xD8)])
def test_markers_without_a_length_are_stepped_over(marker: int) -> None:
    assert read_header(SOI + bytes([0xFF, marker]) + frame(640, 480)) == Header(JPEG, 640, 480)


def test_a_stuffed_zero_is_no_marker_that_could_hide_the_real_size() -> None:
    # libjpeg steps over FF 00. Whoever reads a length behind it jumps over the real frame to one that lies.
    real = frame(30_000, 30_000)
    skipped = struct.pack(">H", len(real) + 2)
    assert read_header(SOI + b"\xff\x00" + skipped + real + frame(1, 1)) == Header(JPEG, 30_000, 30_000)


def test_bytes_between_segments_are_skipped_as_decoders_do() -> None:
    assert read_header(SOI + segment(0xE0, b"JFIF") + b"junk" + frame(640, 480)) == Header(JPEG, 640, 480)


@pytest.mark.parametrize("length", [0, 1])
def test_an_impossible_segment_length_does_not_stop_the_search(length: int) -> None:
    broken = struct.pack(">BBH", 0xFF, 0xE5, length)
    assert read_header(SOI + broken + frame(640, 480)) == Header(JPEG, 640, 480)


def test_the_first_frame_counts() -> None:
    assert read_header(SOI + frame(640, 480) + frame(1, 1)) == Header(JPEG, 640, 480)


@pytest.mark.parametrize("marker", [0xDA, 0xD9], ids=["start of scan", "end of image"])
def test_a_jpeg_that_never_says_its_size_is_refused(marker: int) -> None:
    with pytest.raises(ImageUndecodable, match="does not say its size"):
        read_header(SOI + segment(marker, bytes(10)) + frame(640, 480))


@pytest.mark.parametrize(("width", "height"), [(640, 0), (0, 480), (0, 0)])
@pytest.mark.parametrize("make", [lambda w, h: SOI + frame(w, h), png], ids=["jpeg", "png"])
def test_a_side_of_nothing_is_refused(make: object, width: int, height: int) -> None:
    assert callable(make)
    with pytest.raises(ImageUndecodable, match=f"{width} x {height} pixels"):
        read_header(make(width, height))


def test_a_jpeg_header_that_ends_at_any_byte_is_refused() -> None:
    whole = SOI + segment(0xE0, b"JFIF") + b"\xff\xff" + segment(0xDB, bytes(65)) + frame(640, 480)
    size_known = whole.index(b"\xff\xc0") + 9
    assert read_header(whole[:size_known]) == Header(JPEG, 640, 480)
    for end in range(size_known):
        with pytest.raises(ImageUndecodable):
            read_header(whole[:end])


def test_a_png_header_that_ends_at_any_byte_is_refused() -> None:
    whole = png(640, 480)
    assert read_header(whole) == Header(PNG, 640, 480)
    for end in range(len(whole)):
        with pytest.raises(ImageUndecodable):
            read_header(whole[:end])


def test_a_png_must_begin_with_its_header_chunk() -> None:
    with pytest.raises(ImageUndecodable, match="no complete header"):
        read_header(png(640, 480, b"sRGB"))


def test_png_sides_are_four_bytes_long() -> None:
    assert read_header(png(70_000, 2**31 - 1)) == Header(PNG, 70_000, 2**31 - 1)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8", b"GIF89a", b"RIFF....WEBP", b"BM" + bytes(60), bytes(100)])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ImageUndecodable, match="neither a JPEG nor a PNG"):
        read_header(data)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (encoded(".jpg"), JPEG),
        (encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1), JPEG),
        (encoded(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 1), JPEG),
        (encoded(".png"), PNG),
    ],
    ids=["baseline", "progressive", "restarts", "png"],
)
def test_the_header_of_a_real_file_is_read(data: bytes, kind: PictureFormat) -> None:
    assert read_header(data) == Header(kind, 70, 30)
