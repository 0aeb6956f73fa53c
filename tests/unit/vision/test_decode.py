"""Every kind of picture becomes the same array: uint8, RGB, upright."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from detector_grpc.errors import ImageEmpty, ImageTooLarge, ImageUndecodable, RawImageInvalid
from detector_grpc.vision import decode as module
from detector_grpc.vision.decode import decode, from_raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from detector_grpc.vision.decode import PixelFormat

    Picture = NDArray[np.uint8]

WIDTH, HEIGHT = 64, 32
PLENTY = 1_000_000
NEARLY = 12  # what JPEG may change a sample by, in these pictures


def upright() -> Picture:
    """RGB: red top left, green top right, blue bottom left, white bottom right; no symmetry hides a mistake."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    middle_y, middle_x = HEIGHT // 2, WIDTH // 2
    picture[:middle_y, :middle_x] = 220, 20, 20
    picture[:middle_y, middle_x:] = 20, 200, 20
    picture[middle_y:, :middle_x] = 20, 20, 210
    picture[middle_y:, middle_x:] = 250, 250, 250
    return picture


def encode(suffix: str, picture: NDArray[np.generic], *flags: int) -> bytes:
    """A file of an RGB, RGBA or grey picture."""
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
    stored = picture if picture.ndim == 2 else picture[:, :, order[picture.shape[2]]]
    return cv2.imencode(suffix, np.ascontiguousarray(stored), flags)[1].tobytes()


def jpeg(picture: Picture, *flags: int) -> bytes:
    return encode(".jpg", picture, cv2.IMWRITE_JPEG_QUALITY, 100, *flags)


def with_orientation(file: bytes, orientation: int, byte_order: str) -> bytes:
    """The JPEG with an EXIF segment that says only how to turn it."""
    mark = {"<": b"II", ">": b"MM"}[byte_order]
    tiff = mark + struct.pack(f"{byte_order}HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    payload = b"Exif\x00\x00" + tiff
    return file[:2] + struct.pack(">BBH", 0xFF, 0xE1, len(payload) + 2) + payload + file[2:]


# How a picture is stored so that the orientation makes it upright again (EXIF 2.3, 4.6.4, tag 0x0112).
STORED: dict[int, Callable[[Picture], Picture]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}


def assert_nearly(actual: Picture, expected: Picture) -> None:
    assert actual.shape == expected.shape
    assert actual.dtype == np.uint8
    assert np.abs(actual.astype(int) - expected).max() <= NEARLY


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_exif_orientation_gives_the_same_upright_picture(orientation: int, byte_order: str) -> None:
    stored = jpeg(STORED[orientation](upright()), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111)
    assert_nearly(decode(with_orientation(stored, orientation, byte_order), PLENTY), upright())


@pytest.mark.parametrize("flags", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)])
def test_jpeg_becomes_rgb(flags: tuple[int, ...]) -> None:
    file = jpeg(upright(), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111, *flags)
    assert_nearly(decode(file, PLENTY), upright())


def test_png_becomes_exactly_the_same_rgb() -> None:
    np.testing.assert_array_equal(decode(encode(".png", upright()), PLENTY), upright())


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_grey_becomes_three_equal_channels(suffix: str) -> None:
    grey = np.repeat(np.arange(HEIGHT, dtype=np.uint8)[:, None] * 8, WIDTH, axis=1)
    picture = decode(encode(suffix, grey), PLENTY)
    assert_nearly(picture, np.dstack([grey] * 3))
    assert (picture == picture[:, :, :1]).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_become_the_upper_eight(channels: int) -> None:
    eight = np.dstack([upright(), upright()[:, :, 0]])[:, :, :channels].squeeze()
    expected = np.dstack([eight] * 3) if channels == 1 else eight[:, :, :3]
    np.testing.assert_array_equal(decode(encode(".png", eight.astype(np.uint16) * 257), PLENTY), expected)


def test_alpha_is_dropped_and_the_colours_stay() -> None:
    alpha = np.tile(np.arange(WIDTH, dtype=np.uint8), (HEIGHT, 1))
    np.testing.assert_array_equal(decode(encode(".png", np.dstack([upright(), alpha])), PLENTY), upright())


def test_a_palette_is_applied() -> None:
    palette = [(220, 20, 20), (20, 200, 20), (20, 20, 210), (250, 250, 250)]
    indices = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 4

    def chunk(kind: bytes, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))

    rows = b"".join(b"\x00" + row.astype(np.uint8).tobytes() for row in indices)
    file = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", bytes(sample for colour in palette for sample in colour))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    np.testing.assert_array_equal(decode(file, PLENTY), np.array(palette, np.uint8)[indices])


def cmyk_jpeg(cyan: int, magenta: int, yellow: int, black: int) -> bytes:
    """One block of one colour with four components, inverted as Adobe stores them; written by hand, as no writer here
    can make one."""

    def segment(marker: int, payload: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload

    bits = ""
    for sample in (cyan, magenta, yellow, black):
        difference = (255 - sample) - 128  # quantised by 8, the DC coefficient is this
        size = abs(difference).bit_length()
        value = difference if difference >= 0 else difference + (1 << size) - 1
        bits += f"{size:04b}" + (f"{value:0{size}b}" if size else "") + "0"  # "0": end of block
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    components = bytes([1, 2, 3, 4])
    return (
        b"\xff\xd8"
        + segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 0))
        + segment(0xDB, b"\x00" + bytes([8] * 64))
        + segment(0xC0, struct.pack(">BHHB", 8, 8, 8, 4) + b"".join(bytes([c, 0x11, 0]) for c in components))
        + segment(0xC4, b"\x00" + bytes([0, 0, 0, 9, *[0] * 12]) + bytes(range(9)))
        + segment(0xC4, b"\x10" + bytes([1, *[0] * 15]) + b"\x00")
        + segment(0xDA, b"\x04" + b"".join(bytes([c, 0x00]) for c in components) + bytes([0, 63, 0]))
        + scan
        + b"\xff\xd9"
    )


@pytest.mark.parametrize(
    ("cmyk", "rgb"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((0, 255, 255, 0), (255, 0, 0)),
        ((255, 0, 255, 0), (0, 255, 0)),
        ((0, 128, 255, 0), (255, 127, 0)),
        ((0, 0, 0, 200), (55, 55, 55)),
    ],
)
def test_cmyk_becomes_rgb(cmyk: tuple[int, int, int, int], rgb: tuple[int, int, int]) -> None:
    assert_nearly(decode(cmyk_jpeg(*cmyk), PLENTY), np.full((8, 8, 3), rgb, np.uint8))


@pytest.mark.parametrize("file", [jpeg(upright()), encode(".png", upright())], ids=["jpeg", "png"])
def test_the_limit_of_pixels_is_exact(file: bytes) -> None:
    assert decode(file, WIDTH * HEIGHT).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ImageTooLarge) as caught:
        decode(file, WIDTH * HEIGHT - 1)
    assert caught.value.metadata == {"width": "64", "height": "32", "maxPixels": "2047"}


def test_a_picture_that_is_too_large_is_refused_before_the_decoder_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageTooLarge):
        decode(jpeg(upright()), 1)


def test_a_hidden_frame_cannot_pass_the_limit_of_pixels() -> None:
    # FF 00 and a length: whoever skips that many bytes finds the small frame in a comment, the decoder the large one.
    large = jpeg(np.zeros((512, 512, 3), np.uint8))
    end_of_frame = large.index(b"\xff\xc0") + 2 + 17
    small = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 8, 8, 3) + bytes(9)
    comment = struct.pack(">BBH", 0xFF, 0xFE, len(small) + 2)
    before = large[2:end_of_frame] + comment
    file = b"\xff\xd8\xff\x00" + struct.pack(">H", len(before) + 2) + before + small + large[end_of_frame:]
    with pytest.raises(ImageTooLarge, match="512 x 512"):
        decode(file, 64)


def test_no_bytes_are_an_empty_picture() -> None:
    with pytest.raises(ImageEmpty):
        decode(b"", PLENTY)


@pytest.mark.usefixtures("quiet_decoders")
@pytest.mark.parametrize("file", [jpeg(upright()), encode(".png", upright())], ids=["jpeg", "png"])
def test_a_file_that_ends_at_any_byte_of_its_first_half_is_refused(file: bytes) -> None:
    for end in range(1, len(file) // 2):
        with pytest.raises(ImageUndecodable):
            decode(file[:end], PLENTY)


@pytest.mark.usefixtures("quiet_decoders")
def test_a_damaged_file_is_refused_without_the_words_of_the_decoder() -> None:
    file = bytearray(encode(".png", upright()))
    file[40:60] = bytes(20)
    with pytest.raises(ImageUndecodable, match=rf"^the PNG picture of {len(file)} bytes is truncated or damaged$"):
        decode(bytes(file), PLENTY)


def test_an_exception_of_opencv_is_an_undecodable_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise cv2.error("secret /path")

    monkeypatch.setattr(module.cv2, "imdecode", fail)
    with pytest.raises(ImageUndecodable) as caught:
        decode(jpeg(upright()), PLENTY)
    assert "secret" not in caught.value.message


RAW: dict[PixelFormat, bytes] = {
    "RGB24": upright().tobytes(),
    "BGR24": upright()[:, :, ::-1].tobytes(),
    "GRAY8": upright()[:, :, 0].tobytes(),
}


@pytest.mark.parametrize("pixel_format", RAW)
def test_raw_samples_become_rgb(pixel_format: PixelFormat) -> None:
    expected = np.dstack([upright()[:, :, 0]] * 3) if pixel_format == "GRAY8" else upright()
    picture = from_raw(RAW[pixel_format], WIDTH, HEIGHT, pixel_format, PLENTY)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize("pixel_format", ["RGB24", "BGR24"])
def test_raw_samples_are_not_copied(pixel_format: PixelFormat) -> None:
    data = RAW[pixel_format]
    assert np.shares_memory(from_raw(data, WIDTH, HEIGHT, pixel_format, PLENTY), np.frombuffer(data, np.uint8))


@pytest.mark.parametrize("off_by", [-1, 1])
@pytest.mark.parametrize("pixel_format", RAW)
def test_raw_samples_must_fill_the_picture_exactly(pixel_format: PixelFormat, off_by: int) -> None:
    expected = len(RAW[pixel_format])
    with pytest.raises(RawImageInvalid) as caught:
        from_raw(bytes(expected + off_by), WIDTH, HEIGHT, pixel_format, PLENTY)
    assert caught.value.metadata == {"expectedBytes": str(expected), "actualBytes": str(expected + off_by)}


@pytest.mark.parametrize(("width", "height"), [(0, 4), (4, 0), (-2, -2), (-1, 4), (4, -1), (0, 0)])
def test_raw_pictures_have_positive_sides(width: int, height: int) -> None:
    with pytest.raises(RawImageInvalid, match="must be positive"):
        from_raw(b"\x00" * abs(width * height), width, height, "GRAY8", PLENTY)


def test_the_limit_of_pixels_of_a_raw_picture_is_exact_and_comes_before_its_bytes() -> None:
    assert from_raw(bytes(12), 4, 3, "GRAY8", 12).shape == (3, 4, 3)
    with pytest.raises(ImageTooLarge):
        from_raw(b"", 2**31 - 1, 2**31 - 1, "RGB24", 12)
    with pytest.raises(ImageTooLarge):
        from_raw(bytes(12), 4, 3, "GRAY8", 11)
