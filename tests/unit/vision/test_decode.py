"""Every kind of picture becomes the same array: uint8, RGB, upright."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from support import files
from support.files import encoded

from detector_grpc.errors import ImageEmpty, ImageTooLarge, ImageUndecodable, RawImageInvalid
from detector_grpc.vision import decode as module
from detector_grpc.vision.decode import open_encoded, open_raw
from detector_grpc.vision.header import FORMATS
from detector_grpc.vision.tags import Tag

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector_grpc.vision.decode import PixelFormat

    Picture = NDArray[np.uint8]

WIDTH, HEIGHT = 64, 32
PLENTY = 1_000_000
NEARLY = 12  # what lossy compression may change a sample by, in these pictures
COLORS = [(220, 20, 20), (20, 200, 20), (20, 20, 210), (250, 250, 250)]


def decode(file: bytes, max_pixels: int = PLENTY) -> Picture:
    stored = open_encoded(file, max_pixels)
    return stored.pixels(stored.image_wh)


def indices() -> Picture:
    """Of COLORS, one in each quarter; no symmetry hides a mistake."""
    return np.kron(np.array([[0, 1], [2, 3]], np.uint8), np.ones((HEIGHT // 2, WIDTH // 2), np.uint8))


def upright() -> Picture:
    return np.array(COLORS, np.uint8)[indices()]


def grey() -> Picture:
    return np.repeat(np.arange(HEIGHT, dtype=np.uint8)[:, None] * 8, WIDTH, axis=1)


def with_alpha() -> Picture:
    """RGBA, of many alphas; none is 0, for lossless WebP forgets the colours of what cannot be seen."""
    return np.dstack([upright(), np.tile(np.arange(WIDTH, dtype=np.uint8) * 4 + 1, (HEIGHT, 1))])


def jpeg(picture: Picture, *flags: int) -> bytes:
    return encoded(".jpg", picture, cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111, *flags)


# One file of each format. But for JPEG the pixels are exactly `upright`.
FILES = {each.name: encoded(each.suffixes[0], upright()) for each in FORMATS} | {"JPEG": jpeg(upright())}


def assert_nearly(file: bytes, expected: Picture) -> None:
    picture = decode(file)
    assert picture.shape == expected.shape
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - expected).max() <= NEARLY


def assert_exactly(file: bytes, expected: Picture) -> None:
    picture = decode(file)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_pixels(name: str) -> None:
    raw = open_raw(upright().tobytes(), WIDTH, HEIGHT, "RGB24", PLENTY)
    (assert_nearly if name == "JPEG" else assert_exactly)(FILES[name], raw.pixels(raw.image_wh))


@pytest.mark.parametrize("name", FILES)
def test_the_size_is_known_before_anything_is_decoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    assert open_encoded(FILES[name], PLENTY).image_wh == (WIDTH, HEIGHT)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
def test_grey_becomes_three_equal_channels(suffix: str) -> None:
    file = encoded(suffix, grey())
    assert_nearly(file, np.dstack([grey()] * 3))
    assert (decode(file) == decode(file)[:, :, :1]).all()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_become_eight(channels: int, suffix: str) -> None:
    eight = with_alpha()[:, :, :channels].squeeze()
    expected = np.dstack([eight] * 3) if channels == 1 else eight[:, :, :3]
    assert_exactly(encoded(suffix, eight.astype(np.uint16) * 257), expected)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif"])
def test_alpha_is_dropped_and_the_colours_stay(suffix: str) -> None:
    assert_exactly(encoded(suffix, with_alpha()), upright())


class TestJpeg:
    @pytest.mark.parametrize("flags", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)])
    def test_becomes_rgb(self, flags: tuple[int, ...]) -> None:
        assert_nearly(jpeg(upright(), *flags), upright())

    @pytest.mark.parametrize("transform", [0, 2], ids=["CMYK", "YCCK"])
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
    def test_of_cmyk_becomes_rgb(
        self, cmyk: tuple[int, int, int, int], rgb: tuple[int, int, int], transform: int
    ) -> None:
        assert_nearly(cmyk_jpeg(cmyk, transform), np.full((8, 8, 3), rgb, np.uint8))


class TestPng:
    def test_of_a_palette(self) -> None:
        rows = b"".join(b"\0" + row.tobytes() for row in indices())
        palette = files.png_chunk(b"PLTE", bytes(sample for color in COLORS for sample in color))
        transparency = files.png_chunk(b"tRNS", bytes([0, 128]))
        assert_exactly(files.png(WIDTH, HEIGHT, 3, rows, palette, transparency), upright())

    def test_interlaced(self) -> None:
        assert_exactly(files.png(WIDTH, HEIGHT, 2, files.interlaced_rows(upright()), adam7=1), upright())

    def test_of_an_animation_is_its_still_picture(self) -> None:
        frame = files.png_chunk(b"fdAT", b"\0\0\0\2" + zlib.compress(bytes(HEIGHT * (1 + 3 * WIDTH))))
        control = files.png_chunk(b"acTL", struct.pack(">II", 2, 0))
        assert_exactly(files.png_with(FILES["PNG"], control, frame), upright())


class TestWebp:
    def test_lossy_becomes_rgb(self) -> None:
        smooth = cv2.GaussianBlur(upright(), (0, 0), 3).astype(np.uint8)
        assert_nearly(encoded(".webp", smooth, cv2.IMWRITE_WEBP_QUALITY, 100), smooth)

    def test_lossy_with_alpha_becomes_rgb(self) -> None:
        smooth = cv2.GaussianBlur(upright(), (0, 0), 3).astype(np.uint8)
        file = encoded(".webp", np.dstack([smooth, with_alpha()[:, :, 3]]), cv2.IMWRITE_WEBP_QUALITY, 100)
        assert b"ALPH" in file
        assert_nearly(file, smooth)

    def test_of_an_animation_is_its_first_frame(self) -> None:
        frames = [files.webp_frame(file, WIDTH, HEIGHT) for file in (FILES["WebP"], encoded(".webp", upright()[::-1]))]
        control = files.webp_chunk(b"ANIM", bytes(6))
        assert_exactly(files.webp(files.webp_canvas(WIDTH, HEIGHT), control, *frames), upright())


class TestBmp:
    @pytest.mark.parametrize("header_bytes", [40, 52, 56, 108, 124])
    def test_of_32_bits_is_read_by_its_masks(self, header_bytes: int) -> None:
        masks = struct.pack("<III", 0xFF, 0xFF00, 0xFF0000)
        rows = files.bmp_rows(with_alpha())
        assert_exactly(files.bmp(WIDTH, HEIGHT, 32, rows, 3, masks=masks, header_bytes=header_bytes), upright())

    def test_of_32_bits_without_masks_is_blue_green_red(self) -> None:
        assert_exactly(files.bmp(WIDTH, HEIGHT, 32, files.bmp_rows(with_alpha()[:, :, [2, 1, 0, 3]])), upright())

    @pytest.mark.parametrize("header_bytes", [40, 56, 108, 124])
    @pytest.mark.parametrize("green_bits", [5, 6])
    def test_of_16_bits_becomes_eight(self, green_bits: int, header_bytes: int) -> None:
        red, green, blue = upright().astype(np.uint16).transpose(2, 0, 1)
        pixels = (red >> 3) << (5 + green_bits) | (green >> (8 - green_bits)) << 5 | blue >> 3
        masks = struct.pack("<III", 31 << (5 + green_bits), ((1 << green_bits) - 1) << 5, 31)
        rows = files.bmp_rows(pixels)
        assert_nearly(files.bmp(WIDTH, HEIGHT, 16, rows, 3, masks=masks, header_bytes=header_bytes), upright())

    @pytest.mark.parametrize("bits", [4, 8])
    def test_of_a_palette(self, bits: int) -> None:
        stored = indices() if bits == 8 else indices()[:, ::2] << 4 | indices()[:, 1::2]
        assert_exactly(files.bmp(WIDTH, HEIGHT, bits, files.bmp_rows(stored), palette=bmp_palette()), upright())

    def test_of_run_lengths(self) -> None:
        half = WIDTH // 2
        rows = b"".join(bytes([half, row[0], half, row[-1], 0, 0]) for row in indices()[::-1]) + b"\0\1"
        assert_exactly(files.bmp(WIDTH, HEIGHT, 8, rows, 1, palette=bmp_palette()), upright())

    def test_of_negative_height_begins_at_the_top(self) -> None:
        assert_exactly(files.bmp(WIDTH, -HEIGHT, 24, files.bmp_rows(upright()[::-1, :, ::-1])), upright())

    def test_of_rows_that_are_no_multiple_of_four_bytes(self) -> None:
        odd = upright()[:, :-3]
        assert_exactly(files.bmp(odd.shape[1], HEIGHT, 24, files.bmp_rows(odd[:, :, ::-1])), odd)


def bmp_palette() -> bytes:
    return b"".join(bytes([blue, green, red, 0]) for red, green, blue in COLORS)


def packbits(data: bytes) -> bytes:
    """Without any run."""
    return b"".join(bytes([len(data[at : at + 128]) - 1]) + data[at : at + 128] for at in range(0, len(data), 128))


PACKED = {1: bytes, 8: zlib.compress, 32946: zlib.compress, 32773: packbits}


def in_depth(pixels: Picture, dtype: type) -> NDArray[np.generic]:
    return pixels.astype(dtype) * dtype(257 if dtype is np.uint16 else 1)


class TestTiff:
    @pytest.mark.parametrize("compression", PACKED)
    @pytest.mark.parametrize("byte_order", ["<", ">"])
    @pytest.mark.parametrize("planar", [False, True])
    @pytest.mark.parametrize("rows", [0, 5])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_in_strips(self, dtype: type, rows: int, *, planar: bool, byte_order: str, compression: int) -> None:
        file = files.tiff(
            in_depth(upright(), dtype), {Tag.COMPRESSION: [compression]},
            rows=rows, planar=planar, packed=PACKED[compression], byte_order=byte_order,
        )  # fmt: skip
        assert_exactly(file, upright())

    @pytest.mark.parametrize("tile", [(32, 32), (64, 16), (128, 128), (16, 64)])
    @pytest.mark.parametrize("compression", PACKED)
    @pytest.mark.parametrize("planar", [False, True])
    def test_in_tiles_that_the_picture_does_not_fill(
        self, *, planar: bool, compression: int, tile: tuple[int, int]
    ) -> None:
        pixels, tags = upright()[:-3, :-5], {Tag.COMPRESSION: [compression]}
        assert_exactly(files.tiff(pixels, tags, tile=tile, planar=planar, packed=PACKED[compression]), pixels)

    def test_of_differences(self) -> None:
        differences = np.diff(upright(), axis=1, prepend=np.zeros((HEIGHT, 1, 3), np.uint8))
        tags = {Tag.COMPRESSION: [8], Tag.PREDICTOR: [2]}
        assert_exactly(files.tiff(differences, tags, rows=7, packed=zlib.compress), upright())

    @pytest.mark.parametrize("tags", [{}, *({Tag.EXTRA_SAMPLES: [kind]} for kind in (0, 1, 2))])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_of_any_kind_of_alpha_keeps_its_colours(self, dtype: type, tags: dict[int, list[int]]) -> None:
        pixels = in_depth(with_alpha(), dtype)
        assert_exactly(files.tiff(pixels, tags), upright())
        assert_exactly(files.tiff(pixels[:, :, [0, 3]], tags, photometric=1), np.dstack([upright()[:, :, 0]] * 3))

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_of_white_zero_is_turned_round(self, dtype: type) -> None:
        assert_exactly(files.tiff(in_depth(255 - grey(), dtype), photometric=0), np.dstack([grey()] * 3))

    @pytest.mark.parametrize("photometric", [0, 1])
    def test_of_one_bit_becomes_black_and_white(self, photometric: int) -> None:
        bits = indices()[:, :-3] % 2
        stored = np.packbits(bits if photometric == 1 else 1 - bits, axis=1)
        tags = {Tag.WIDTH: [bits.shape[1]], Tag.BITS_PER_SAMPLE: [1]}
        assert_exactly(files.tiff(stored, tags, photometric=photometric, rows=5), np.dstack([bits * 255] * 3))

    @pytest.mark.parametrize("bits", [4, 8])
    def test_of_a_palette(self, bits: int) -> None:
        stored = indices() if bits == 8 else indices()[:, ::2] << 4 | indices()[:, 1::2]
        palette = np.zeros((3, 1 << bits), int)
        palette[:, :4] = np.array(COLORS).T * 257
        tags = {Tag.WIDTH: [WIDTH], Tag.BITS_PER_SAMPLE: [bits], Tag.COLOR_MAP: palette.ravel().tolist()}
        assert_exactly(files.tiff(stored, tags, photometric=3), upright())

    def test_of_cmyk_becomes_rgb(self) -> None:
        cmyk = np.dstack([255 - upright(), np.zeros((HEIGHT, WIDTH), np.uint8)])
        assert_exactly(files.tiff(cmyk, photometric=5), upright())

    def test_of_several_pages_is_the_first_one(self) -> None:
        done, file = cv2.imencodemulti(".tif", [upright()[:, :, ::-1].copy(), np.zeros((8, 8, 3), np.uint8)])
        assert done
        assert_exactly(file.tobytes(), upright())


def cmyk_jpeg(cmyk: tuple[int, int, int, int], transform: int) -> bytes:
    """One block of one colour with four components, inverted as Adobe stores them; written by hand, as no writer here
    can make one.

    Args:
        cmyk: Range [0, 255].
        transform: 0: as they are; 2: the first three as luma and chroma.
    """

    def segment(marker: int, payload: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload

    samples = [255 - each for each in cmyk]
    if transform == 2:  # a decoder makes RGB of luma and chroma, and takes that from 255
        luma, red, blue = cv2.cvtColor(np.array([[cmyk[:3]]], np.uint8), cv2.COLOR_RGB2YCrCb)[0, 0].tolist()
        samples[:3] = luma, blue, red
    bits = ""
    for sample in samples:
        difference = sample - 128  # quantised by 8, the DC coefficient is this
        size = abs(difference).bit_length()
        value = difference if difference >= 0 else difference + (1 << size) - 1
        bits += f"{size:04b}" + (f"{value:0{size}b}" if size else "") + "0"  # "0": end of block
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    components = bytes([1, 2, 3, 4])
    return (
        b"\xff\xd8"
        + segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform))
        + segment(0xDB, b"\x00" + bytes([8] * 64))
        + segment(0xC0, struct.pack(">BHHB", 8, 8, 8, 4) + b"".join(bytes([c, 0x11, 0]) for c in components))
        + segment(0xC4, b"\x00" + bytes([0, 0, 0, 9, *[0] * 12]) + bytes(range(9)))
        + segment(0xC4, b"\x10" + bytes([1, *[0] * 15]) + b"\x00")
        + segment(0xDA, b"\x04" + b"".join(bytes([c, 0x00]) for c in components) + bytes([0, 63, 0]))
        + scan
        + b"\xff\xd9"
    )


@pytest.mark.parametrize(("name", "file"), FILES.items(), ids=FILES)
def test_the_limit_of_pixels_is_exact(name: str, file: bytes) -> None:
    assert decode(file, WIDTH * HEIGHT).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ImageTooLarge) as caught:
        decode(file, WIDTH * HEIGHT - 1)
    assert caught.value.metadata == {"width": "64", "height": "32", "maxPixels": "2047"}
    assert caught.value.message == f"the {name} picture has 64 x 32 = 2048 pixels, the limit is 2047"


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
        decode(b"")


@pytest.mark.usefixtures("quiet_decoders")
def test_a_damaged_file_is_refused_without_the_words_of_the_decoder() -> None:
    file = bytearray(FILES["PNG"])
    file[40:60] = bytes(20)
    with pytest.raises(ImageUndecodable, match=rf"^the PNG picture of {len(file)} bytes is truncated or damaged$"):
        decode(bytes(file))


def test_an_exception_of_opencv_is_an_undecodable_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise cv2.error("secret /path")

    monkeypatch.setattr(module.cv2, "imdecode", fail)
    with pytest.raises(ImageUndecodable) as caught:
        decode(jpeg(upright()))
    assert "secret" not in caught.value.message


RAW: dict[PixelFormat, bytes] = {
    "RGB24": upright().tobytes(),
    "BGR24": upright()[:, :, ::-1].tobytes(),
    "GRAY8": upright()[:, :, 0].tobytes(),
}


@pytest.mark.parametrize("pixel_format", RAW)
def test_raw_samples_become_rgb(pixel_format: PixelFormat) -> None:
    expected = np.dstack([upright()[:, :, 0]] * 3) if pixel_format == "GRAY8" else upright()
    stored = open_raw(RAW[pixel_format], WIDTH, HEIGHT, pixel_format, PLENTY)
    picture = stored.pixels((1, 1))
    assert stored.image_wh == (WIDTH, HEIGHT)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize("pixel_format", ["RGB24", "BGR24"])
def test_raw_samples_are_not_copied(pixel_format: PixelFormat) -> None:
    data = RAW[pixel_format]
    picture = open_raw(data, WIDTH, HEIGHT, pixel_format, PLENTY).pixels((WIDTH, HEIGHT))
    assert np.shares_memory(picture, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize("off_by", [-1, 1])
@pytest.mark.parametrize("pixel_format", RAW)
def test_raw_samples_must_fill_the_picture_exactly(pixel_format: PixelFormat, off_by: int) -> None:
    expected = len(RAW[pixel_format])
    with pytest.raises(RawImageInvalid) as caught:
        open_raw(bytes(expected + off_by), WIDTH, HEIGHT, pixel_format, PLENTY)
    assert caught.value.metadata == {"expectedBytes": str(expected), "actualBytes": str(expected + off_by)}


@pytest.mark.parametrize(("width", "height"), [(0, 4), (4, 0), (-2, -2), (-1, 4), (4, -1), (0, 0)])
def test_raw_pictures_have_positive_sides(width: int, height: int) -> None:
    with pytest.raises(RawImageInvalid, match="must be positive"):
        open_raw(b"\x00" * abs(width * height), width, height, "GRAY8", PLENTY)


def test_the_limit_of_pixels_of_a_raw_picture_is_exact_and_comes_before_its_bytes() -> None:
    assert open_raw(bytes(12), 4, 3, "GRAY8", 12).pixels((4, 3)).shape == (3, 4, 3)
    with pytest.raises(ImageTooLarge):
        open_raw(b"", 2**31 - 1, 2**31 - 1, "RGB24", 12)
    with pytest.raises(ImageTooLarge):
        open_raw(bytes(12), 4, 3, "GRAY8", 11)
