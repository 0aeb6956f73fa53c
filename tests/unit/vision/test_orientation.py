"""Whichever way round a picture is stored, it comes out upright, in every format that says how it is stored."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from support import files
from support.files import STORED, encoded, exif

from detector_grpc.vision.decode import open_encoded
from detector_grpc.vision.tags import Tag

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

PLENTY = 1_000_000
WIDTH, HEIGHT = 144, 96
NEARLY = 6  # what lossy compression may change a sample by, in these pictures
EXIF = b"Exif\0\0"


def photo() -> Picture:
    """Smooth, so that lossy compression and reduction change it little, and without any symmetry."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    channels = [x, y * 1.5, (x + 2 * y) / 2]
    return np.clip(np.dstack(channels) + 30, 0, 255).astype(np.uint8)


def jpeg(stored: Picture, orientation: int, byte_order: str) -> bytes:
    file = encoded(".jpg", stored, cv2.IMWRITE_JPEG_QUALITY, 100)
    return files.jpeg_with(file, EXIF + exif(orientation, byte_order))


def png(stored: Picture, orientation: int, byte_order: str) -> bytes:
    return files.png_with(encoded(".png", stored), files.png_chunk(b"eXIf", exif(orientation, byte_order)))


def webp(stored: Picture, orientation: int, byte_order: str) -> bytes:
    height, width = stored.shape[:2]
    chunk = files.webp_chunk(b"EXIF", exif(orientation, byte_order))
    return files.webp_with(encoded(".webp", stored), width, height, chunk)


def tiff(stored: Picture, orientation: int, byte_order: str) -> bytes:
    return files.tiff(stored, {Tag.ORIENTATION: [orientation]}, rows=7, byte_order=byte_order)


def tiff_tiles(stored: Picture, orientation: int, byte_order: str) -> bytes:
    return files.tiff(stored, {Tag.ORIENTATION: [orientation]}, tile=(64, 32), byte_order=byte_order)


WRITERS = [jpeg, png, webp, tiff, tiff_tiles]


def assert_upright(file: bytes) -> None:
    stored = open_encoded(file, PLENTY)
    assert stored.image_wh == (WIDTH, HEIGHT)
    pixels = stored.pixels(stored.image_wh)
    assert pixels.shape == photo().shape
    assert np.abs(pixels.astype(int) - photo()).max() <= NEARLY


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_orientation_gives_the_same_upright_picture(
    write: Callable[[Picture, int, str], bytes], orientation: int, byte_order: str
) -> None:
    assert_upright(write(np.ascontiguousarray(STORED[orientation](photo())), orientation, byte_order))


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("orientation", STORED)
def test_a_reduced_picture_is_upright_too(orientation: int, factor: int) -> None:
    stored = open_encoded(jpeg(np.ascontiguousarray(STORED[orientation](photo())), orientation, ">"), PLENTY)
    assert stored.image_wh == (WIDTH, HEIGHT)
    pixels = stored.pixels((WIDTH * 3 // 4 // factor, HEIGHT * 3 // 4 // factor))
    expected = cv2.resize(photo(), (WIDTH // factor, HEIGHT // factor), interpolation=cv2.INTER_AREA)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= NEARLY


@pytest.mark.parametrize("orientation", [0, 9, 65535])
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_an_orientation_that_there_is_not_changes_nothing(
    write: Callable[[Picture, int, str], bytes], orientation: int
) -> None:
    assert_upright(write(photo(), orientation, "<"))


@pytest.mark.parametrize("broken", [b"", b"II", exif(6)[:8], exif(6)[:20], b"MM\0*\xff\xff\xff\xff", b"x" * 100])
def test_damaged_exif_data_change_nothing(broken: bytes) -> None:
    chunk = files.webp_chunk(b"EXIF", broken)
    assert_upright(files.jpeg_with(encoded(".jpg", photo(), cv2.IMWRITE_JPEG_QUALITY, 100), EXIF + broken))
    assert_upright(files.png_with(encoded(".png", photo()), files.png_chunk(b"eXIf", broken)))
    assert_upright(files.webp_with(encoded(".webp", photo()), WIDTH, HEIGHT, chunk))


def lying() -> Picture:
    """As cameras that are held upright store it."""
    return np.ascontiguousarray(STORED[6](photo()))


def test_other_segments_may_come_before_the_exif_data_of_a_jpeg() -> None:
    extended = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"
    file = encoded(".jpg", lying(), cv2.IMWRITE_JPEG_QUALITY, 100)
    assert_upright(files.jpeg_with(file, extended, EXIF + exif(6)))


def test_what_looks_like_exif_data_within_the_pixels_of_a_jpeg_is_none() -> None:
    file = encoded(".jpg", photo(), cv2.IMWRITE_JPEG_QUALITY, 100)
    payload = EXIF + exif(6)
    assert_upright(file + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload)


def test_exif_data_may_follow_the_pixels_of_a_png() -> None:
    file = encoded(".png", lying())
    end = len(file) - 12
    assert_upright(file[:end] + files.png_chunk(b"eXIf", exif(6)) + file[end:])


def test_exif_data_of_a_webp_may_begin_like_those_of_a_jpeg() -> None:
    chunk = files.webp_chunk(b"EXIF", EXIF + exif(6))
    assert_upright(files.webp_with(encoded(".webp", lying()), HEIGHT, WIDTH, chunk))
