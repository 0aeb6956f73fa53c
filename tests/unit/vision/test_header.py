"""The size that is read before anything is allocated."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from support import files
from support.files import encoded

from detector_grpc.errors import ImageUndecodable
from detector_grpc.vision.header import FORMATS, Header, PictureFormat, read_header
from detector_grpc.vision.tags import UPRIGHT, Tag

JPEG, PNG, WEBP, BMP, TIFF = FORMATS
SOI = b"\xff\xd8"
START_OF_FRAME = [0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF]
LOOK_LIKE_START_OF_FRAME = {"DHT": 0xC4, "JPG": 0xC8, "DAC": 0xCC}


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def frame(width: int, height: int, marker: int = 0xC0) -> bytes:
    return segment(marker, struct.pack(">BHHB", 8, height, width, 3) + bytes(9))


def png(width: int, height: int, first_chunk: bytes = b"IHDR") -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, first_chunk, width, height, 8, 2, 0, 0, 0, 0)


END = files.png_chunk(b"IEND", b"")
PICTURE = np.zeros((30, 70, 3), np.uint8)


@pytest.mark.parametrize("marker", START_OF_FRAME)
def test_every_start_of_frame_marker_tells_the_size(marker: int) -> None:
    assert read_header(SOI + frame(640, 480, marker)) == Header(JPEG, 640, 480, UPRIGHT)


@pytest.mark.parametrize("marker", LOOK_LIKE_START_OF_FRAME.values(), ids=LOOK_LIKE_START_OF_FRAME)
def test_tables_between_the_start_of_frame_markers_are_skipped(marker: int) -> None:
    decoy = segment(marker, struct.pack(">BHHB", 8, 1, 1, 3))
    assert read_header(SOI + decoy + frame(640, 480)) == Header(JPEG, 640, 480, UPRIGHT)


def test_size_is_found_behind_several_application_segments() -> None:
    before = b"".join(segment(0xE0 + n, b"\x00" * (1000 * n)) for n in range(16)) + segment(0xFE, b"a comment")
    assert read_header(SOI + before + frame(17, 19)) == Header(JPEG, 17, 19, UPRIGHT)


def test_a_thumbnail_within_a_segment_does_not_tell_the_size() -> None:
    thumbnail = segment(0xE1, b"Exif\x00\x00" + SOI + frame(160, 120))
    assert read_header(SOI + thumbnail + frame(4000, 3000)) == Header(JPEG, 4000, 3000, UPRIGHT)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_fill_bytes_may_precede_every_marker(count: int) -> None:
    fill = b"\xff" * count
    data = SOI + fill + segment(0xE0, b"JFIF") + fill + frame(640, 480)
    assert read_header(data) == Header(JPEG, 640, 480, UPRIGHT)


@pytest.mark.parametrize("marker", [0x01, *range(0xD0, 0xD8)])
def test_markers_without_a_length_are_stepped_over(marker: int) -> None:
    assert read_header(SOI + bytes([0xFF, marker]) + frame(640, 480)) == Header(JPEG, 640, 480, UPRIGHT)


def test_a_stuffed_zero_is_no_marker_that_could_hide_the_real_size() -> None:
    # libjpeg steps over FF 00. Whoever reads a length behind it jumps over the real frame to one that lies.
    real = frame(30_000, 30_000)
    skipped = struct.pack(">H", len(real) + 2)
    assert read_header(SOI + b"\xff\x00" + skipped + real + frame(1, 1)) == Header(JPEG, 30_000, 30_000, UPRIGHT)


def test_bytes_between_segments_are_skipped_as_decoders_do() -> None:
    assert read_header(SOI + segment(0xE0, b"JFIF") + b"junk" + frame(640, 480)) == Header(JPEG, 640, 480, UPRIGHT)


@pytest.mark.parametrize("length", [0, 1])
def test_an_impossible_segment_length_does_not_stop_the_search(length: int) -> None:
    broken = struct.pack(">BBH", 0xFF, 0xE5, length)
    assert read_header(SOI + broken + frame(640, 480)) == Header(JPEG, 640, 480, UPRIGHT)


def test_the_first_frame_counts() -> None:
    assert read_header(SOI + frame(640, 480) + frame(1, 1)) == Header(JPEG, 640, 480, UPRIGHT)


@pytest.mark.parametrize("marker", [0xDA, 0xD9], ids=["start of scan", "end of image"])
def test_a_jpeg_that_never_says_its_size_is_refused(marker: int) -> None:
    with pytest.raises(ImageUndecodable, match="does not say its size"):
        read_header(SOI + segment(marker, bytes(10)) + frame(640, 480))


@pytest.mark.parametrize(("width", "height"), [(640, 0), (0, 480), (0, 0)])
@pytest.mark.parametrize("make", [lambda w, h: SOI + frame(w, h), png], ids=["jpeg", "png"])
def test_a_side_of_nothing_is_refused(make: object, width: int, height: int) -> None:
    assert callable(make)
    with pytest.raises(ImageUndecodable, match=rf"the header of the (JPEG|PNG) picture says {width} x {height} pixels"):
        read_header(make(width, height))


def test_a_jpeg_header_that_ends_at_any_byte_is_refused() -> None:
    whole = SOI + segment(0xE0, b"JFIF") + b"\xff\xff" + segment(0xDB, bytes(65)) + frame(640, 480)
    size_known = whole.index(b"\xff\xc0") + 9
    assert read_header(whole[:size_known]) == Header(JPEG, 640, 480, UPRIGHT)
    for end in range(size_known):
        with pytest.raises(ImageUndecodable):
            read_header(whole[:end])


def test_a_png_header_that_ends_at_any_byte_is_refused() -> None:
    whole = png(640, 480)
    assert read_header(whole + END) == Header(PNG, 640, 480, UPRIGHT)
    for end in range(len(whole)):
        with pytest.raises(ImageUndecodable):
            read_header(whole[:end])


def test_a_png_must_begin_with_its_header_chunk() -> None:
    with pytest.raises(ImageUndecodable, match="no complete header"):
        read_header(png(640, 480, b"sRGB"))


def test_png_sides_are_four_bytes_long() -> None:
    assert read_header(png(70_000, 2**31 - 1) + END) == Header(PNG, 70_000, 2**31 - 1, UPRIGHT)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8", b"RIFF....WAVE", b"B", b"II", b"<svg/>", bytes(100)])
def test_other_bytes_are_refused_with_what_is_taken(data: bytes) -> None:
    with pytest.raises(ImageUndecodable, match=r"^the bytes are no JPEG, PNG, WebP, BMP or TIFF picture$"):
        read_header(data)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"GIF87a", "GIF"),
        (b"GIF89a" + bytes(100), "GIF"),
        (b"\0\0\0\x20ftypavif", "AVIF"),
        (b"\0\0\0\x1cftypavis", "AVIF"),
        (b"\0\0\0\x24ftypheic", "HEIF"),
        (b"\0\0\0\x18ftypmif1", "HEIF"),
        (b"II+\0\x08\0\0\0", "BigTIFF"),
        (b"MM\0+\0\x08\0\0", "BigTIFF"),
    ],
)
def test_pictures_of_other_formats_are_refused_by_name_with_what_is_taken(data: bytes, name: str) -> None:
    with pytest.raises(ImageUndecodable, match=f"^{name} pictures are not taken; send JPEG, PNG, WebP, BMP or TIFF$"):
        read_header(data)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (encoded(".jpg", PICTURE), JPEG),
        (encoded(".jpg", PICTURE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), JPEG),
        (encoded(".jpg", PICTURE, cv2.IMWRITE_JPEG_RST_INTERVAL, 1), JPEG),
        (encoded(".png", PICTURE), PNG),
        (encoded(".webp", PICTURE), WEBP),
        (encoded(".webp", PICTURE, cv2.IMWRITE_WEBP_QUALITY, 80), WEBP),
        (files.webp_with(encoded(".webp", PICTURE), 70, 30), WEBP),
        (encoded(".bmp", PICTURE), BMP),
        (files.bmp(70, -30, 24, bytes(212 * 30)), BMP),
        (b"BM" + struct.pack("<IHHIIHHHH", 26, 0, 0, 26, 12, 70, 30, 1, 24) + bytes(212 * 30), BMP),
        (encoded(".tif", PICTURE), TIFF),
        (files.tiff(PICTURE, byte_order=">"), TIFF),
        (files.tiff(PICTURE, tile=(32, 32)), TIFF),
    ],
    ids=[
        "baseline", "progressive", "restarts", "png", "lossless webp", "lossy webp", "extended webp", "bmp",
        "top down bmp", "os/2 bmp", "lzw tiff", "big endian tiff", "tiff of tiles",
    ],
)  # fmt: skip
def test_the_header_of_a_real_file_is_read(data: bytes, kind: PictureFormat) -> None:
    assert read_header(data) == Header(kind, 70, 30, UPRIGHT)


@pytest.mark.parametrize(("orientation", "image_wh"), [(1, (70, 30)), (4, (70, 30)), (5, (30, 70)), (8, (30, 70))])
def test_pictures_that_lie_on_their_side_are_as_wide_as_they_are_stored_high(
    orientation: int, image_wh: tuple[int, int]
) -> None:
    header = read_header(files.tiff(PICTURE, {Tag.ORIENTATION: [orientation]}))
    assert (header.width, header.height, header.orientation) == (70, 30, orientation)
    assert header.image_wh == image_wh
