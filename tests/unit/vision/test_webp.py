"""Which WebP files are handed to a decoder, and what of them."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from support import files
from support.files import encoded, webp, webp_chunk, webp_with

from detector_grpc.errors import ImageUndecodable
from detector_grpc.vision import webp as module

WIDTH, HEIGHT = 50, 40
PICTURE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
LOSSLESS, LOSSY = encoded(".webp", PICTURE), encoded(".webp", PICTURE, cv2.IMWRITE_WEBP_QUALITY, 80)


def assert_refused(file: bytes, why: str) -> None:
    with pytest.raises(ImageUndecodable, match=f"^the WebP picture.* {why}"):
        module.size(file)


@pytest.mark.parametrize("file", [LOSSLESS, LOSSY], ids=["lossless", "lossy"])
@pytest.mark.parametrize("kind", [b"ICCP", b"EXIF", b"XMP ", b"ALPH", b"abcd"])
def test_only_the_picture_is_kept(kind: bytes, file: bytes) -> None:
    chunk = webp_chunk(kind, bytes(101))
    assert module.harmless(file) == file
    assert module.harmless(webp_with(file, WIDTH, HEIGHT, chunk)) == file
    assert module.harmless(webp(files.webp_canvas(WIDTH, HEIGHT), chunk, file[12:])) == file


@pytest.mark.parametrize("more", [b"", b"\0"])
def test_a_picture_of_odd_length_is_padded(more: bytes) -> None:
    file = webp(webp_chunk(b"VP8 ", LOSSY[20:] + more))
    assert module.harmless(file) == file
    assert len(file) % 2 == 0


def test_of_an_animation_only_the_first_frame_is_kept() -> None:
    frames = [files.webp_frame(file, WIDTH, HEIGHT) for file in (LOSSLESS, LOSSY)]
    assert module.harmless(webp(files.webp_canvas(WIDTH, HEIGHT), webp_chunk(b"ANIM", bytes(6)), *frames)) == LOSSLESS


@pytest.mark.parametrize("file", [LOSSLESS, LOSSY], ids=["lossless", "lossy"])
@pytest.mark.parametrize("canvas", [(WIDTH + 1, HEIGHT), (WIDTH, HEIGHT - 1), (1, 1), (1 << 24, 1 << 24)])
def test_the_picture_must_fill_the_canvas(canvas: tuple[int, int], file: bytes) -> None:
    why = f"is 50 x 40, and must fill the canvas of {canvas[0]} x {canvas[1]}$"
    assert_refused(webp_with(file, *canvas), why)
    assert_refused(webp(files.webp_canvas(*canvas), files.webp_frame(file, WIDTH, HEIGHT, 2, 2)), why)


@pytest.mark.parametrize("length", [2**32 - 1, 2**31 - 1, len(LOSSY)])
def test_a_chunk_longer_than_the_file_is_refused(length: int) -> None:
    lying = LOSSY[:16] + struct.pack("<I", length) + LOSSY[20:]
    assert_refused(lying, f"of {len(lying)} bytes ends within a chunk")
    assert_refused(webp(webp_chunk(b"ANMF", bytes(16) + lying[12:])), "ends within a chunk")


def test_a_file_that_ends_anywhere_within_its_picture_is_refused() -> None:
    for end in range(12, len(LOSSY) - 1):
        with pytest.raises(ImageUndecodable, match="the WebP picture"):
            module.size(LOSSY[:end])


@pytest.mark.parametrize("chunks", [[], [b"EXIF"], [b"ANMF"], [b"VP8X", b"ANIM"]])
def test_a_file_without_a_picture_is_refused(chunks: list[bytes]) -> None:
    assert_refused(webp(*(webp_chunk(kind, bytes(16)) for kind in chunks)), "has no pixels")


@pytest.mark.parametrize("kind", [b"VP8 ", b"VP8L"])
@pytest.mark.parametrize("payload", [b"", b"\x2e", bytes(5), bytes(20), b"\x30\1\0\x9d\1"])
def test_a_picture_without_its_header_is_refused(payload: bytes, kind: bytes) -> None:
    assert_refused(webp(webp_chunk(kind, payload)), "does not say its size")


def test_chunks_without_end_are_refused() -> None:
    assert_refused(webp(*[webp_chunk(b"abcd", b"")] * 70_000, LOSSY[12:]), "has more than 65536 chunks")
