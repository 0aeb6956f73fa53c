"""A broken file of any format is a picture or an error that names the format, at little cost, and nothing else."""

from __future__ import annotations

import resource
import struct
import time
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from support import files
from support.files import encoded, zlib_bomb

from detector_grpc.errors import ImageError, ImageTooLarge
from detector_grpc.vision.decode import open_encoded
from detector_grpc.vision.header import FORMATS
from detector_grpc.vision.tags import Tag

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH, HEIGHT = 60, 44
MAX_PIXELS = 100_000
MIB = 1 << 20


def picture() -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


WHOLE = {
    "JPEG": encoded(".jpg", picture()),
    "JPEG, progressive": encoded(".jpg", picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "PNG": encoded(".png", picture()),
    "PNG, 16 bits": encoded(".png", picture().astype(np.uint16) * 257),
    "WebP, lossless": encoded(".webp", picture()),
    "WebP, lossy": encoded(".webp", picture(), cv2.IMWRITE_WEBP_QUALITY, 90),
    "WebP, animated": files.webp(
        files.webp_canvas(WIDTH, HEIGHT),
        files.webp_chunk(b"ANIM", bytes(6)),
        *[files.webp_frame(encoded(".webp", picture()), WIDTH, HEIGHT)] * 2,
    ),
    "BMP": encoded(".bmp", picture()),
    "BMP, run lengths": files.bmp(
        WIDTH, HEIGHT, 8, b"".join(bytes([WIDTH, row, 0, 0]) for row in range(HEIGHT)) + b"\0\1", 1, bytes(1024)
    ),
    "TIFF, LZW": encoded(".tif", picture()),
    "TIFF, none": files.tiff(picture(), rows=7),
    "TIFF, Deflate, tiles": files.tiff(picture(), {Tag.COMPRESSION: [8]}, tile=(32, 32), packed=zlib.compress),
}


def check(name: str, file: bytes) -> bool:
    """Whether the file of that kind, or what is left of it, is a picture."""
    kind = name.partition(",")[0]
    try:
        stored = open_encoded(file, MAX_PIXELS)
        pixels = stored.pixels(stored.image_wh)
    except ImageError as error:
        refusal = error.message
    else:
        assert pixels.dtype == np.uint8
        assert pixels.shape == (stored.image_wh[1], stored.image_wh[0], 3)
        return True
    assert f"the {kind} picture" in refusal
    return False


@contextmanager
def little_cost() -> Iterator[None]:
    """Of time and memory, whatever the file says."""
    held, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 64 * 1024


pytestmark = pytest.mark.usefixtures("quiet_decoders")


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_is_a_picture(name: str) -> None:
    assert check(name, WHOLE[name])


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_is_cut_off_anywhere_is_refused_until_nearly_all_is_there(name: str) -> None:
    file = WHOLE[name]
    pictures = [percent for percent in range(1, 100) if check(name, file[: max(len(file) * percent // 100, 16)])]
    # Two frames of an animation are as long as each other, and of a file the last bytes may be of no use.
    assert all(percent > (50 if name == "WebP, animated" else 90) for percent in pictures)


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_with_any_byte_changed_is_a_picture_or_refused(name: str) -> None:
    file, start = WHOLE[name], 12  # the signature says which format the message is about
    for at in range(start, len(file), max(1, len(file) // 400)):
        for mask in (0x01, 0x80, 0xFF):
            check(name, file[:at] + bytes([file[at] ^ mask]) + file[at + 1 :])


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT", b"IEND"])
def test_a_png_with_a_wrong_checksum_is_refused(kind: bytes) -> None:
    file = bytearray(WHOLE["PNG"])
    start = file.index(kind)
    length = struct.unpack_from(">I", file, start - 4)[0]
    file[start + 4 + length] ^= 1
    assert not check("PNG", bytes(file)) or kind == b"IEND"  # behind all pixels it does not matter


SIDE = 60_000
FRAME = WHOLE["JPEG"].index(b"\xff\xc0") + 5
LIARS = {
    "JPEG": WHOLE["JPEG"][:FRAME] + struct.pack(">HH", SIDE, SIDE) + WHOLE["JPEG"][FRAME + 4 :],
    "PNG": files.png(SIDE, SIDE, 2, bytes(100)),
    "WebP": files.webp(files.webp_chunk(b"VP8L", b"\x2f\xff\xff\xff\x0f")),  # 16384 x 16384, there is no more
    "BMP": files.bmp(SIDE, SIDE, 24, bytes(100)),
    "TIFF": files.tiff(picture()[:8, :8], {Tag.WIDTH: [SIDE], Tag.HEIGHT: [SIDE]}),
}


@pytest.mark.parametrize("kind", [each.name for each in FORMATS])
def test_an_absurd_size_is_refused_before_anything_is_allocated(kind: str) -> None:
    assert len(LIARS[kind]) < 2000
    with little_cost(), pytest.raises(ImageTooLarge, match=rf"^the {kind} picture has (60000|16384) x (60000|16384)"):
        open_encoded(LIARS[kind], 50_000_000)


# Every one of these once kept a decoder busy or made it allocate, or could.
COSTLY = {
    "PNG, of pixels that unpack to 2 GiB": files.png(8, 8, 2, b"", files.png_chunk(b"IDAT", zlib_bomb(2000))),
    "PNG, of a profile that unpacks to 256 MiB": files.png_with(
        WHOLE["PNG"], files.png_chunk(b"iCCP", b"x\0\0" + zlib_bomb(256))
    ),
    "PNG, of a chunk that says 4 GiB": files.png_with(WHOLE["PNG"], struct.pack(">I4s", 2**32 - 1, b"IDAT")),
    "TIFF, of a strip that unpacks to 256 MiB": files.tiff(
        picture(), {Tag.COMPRESSION: [8]}, packed=lambda _: zlib_bomb(256)
    ),
    "TIFF, of strips that are all the same": files.tiff_of(
        {
            Tag.WIDTH: [8],
            Tag.HEIGHT: [10_000],
            Tag.BITS_PER_SAMPLE: [16] * 4,
            Tag.SAMPLES_PER_PIXEL: [4],
            Tag.PHOTOMETRIC: [2],
            Tag.COMPRESSION: [8],
            Tag.ROWS_PER_STRIP: [1],
            Tag.STRIP_OFFSETS: [8] * 10_000,
            Tag.STRIP_BYTES: [MIB] * 10_000,
        },
        [zlib.compress(bytes(64)).ljust(MIB, b"\0")],
    ),
    "TIFF, of a tile of 16384 x 8192": files.tiff_of(
        {
            Tag.WIDTH: [8],
            Tag.HEIGHT: [8],
            Tag.BITS_PER_SAMPLE: [8],
            Tag.PHOTOMETRIC: [1],
            Tag.COMPRESSION: [8],
            Tag.TILE_WIDTH: [16_384],
            Tag.TILE_HEIGHT: [8192],
        },
        [zlib_bomb(128)],
    ),
    "BMP, of run lengths that never end": files.bmp(300, 300, 8, b"\0\2\0\0" * MIB, 1, bytes(1024)),
    "BMP, of a palette of 2^32 colours": WHOLE["BMP, run lengths"][:46] + b"\xff" * 4 + WHOLE["BMP, run lengths"][50:],
    "WebP, of empty chunks": files.webp(*[files.webp_chunk(b"abcd", b"")] * 200_000),
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_file_that_is_made_to_be_costly_is_not(name: str) -> None:
    with little_cost():
        check(name, COSTLY[name])
