"""Which TIFF files are handed to a decoder, and what of them."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support import files

from detector_grpc.errors import ImageUndecodable
from detector_grpc.vision import tiff
from detector_grpc.vision.decode import open_encoded
from detector_grpc.vision.tags import Tag, read_tags

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 50, 40
PICTURE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
PLENTY = 100_000
KEPT = {
    Tag.WIDTH, Tag.HEIGHT, Tag.BITS_PER_SAMPLE, Tag.COMPRESSION, Tag.PHOTOMETRIC, Tag.FILL_ORDER, Tag.STRIP_OFFSETS,
    Tag.SAMPLES_PER_PIXEL, Tag.ROWS_PER_STRIP, Tag.STRIP_BYTES, Tag.PLANAR_CONFIGURATION,
}  # fmt: skip


def with_tags(tags: dict[int, Sequence[int]], **kind: object) -> bytes:
    return files.tiff(PICTURE, tags, **kind)  # type: ignore[arg-type]


def assert_refused(file: bytes, why: str) -> None:
    with pytest.raises(ImageUndecodable, match=f"^the TIFF picture.* {why}"):
        tiff.harmless(file)


def test_only_the_tags_that_colours_depend_on_are_kept() -> None:
    file = with_tags({Tag.ORIENTATION: [6], Tag.SUBFILE_TYPE: [0], Tag.SAMPLE_FORMAT: [1, 1, 1], 0x8769: [8]}, rows=7)
    assert read_tags(tiff.harmless(file)).keys() == KEPT


def test_further_pages_are_cut_off() -> None:
    file = bytearray(with_tags({}))
    start = struct.unpack_from("<I", file, 4)[0]
    entries = struct.unpack_from("<H", file, start)[0]
    struct.pack_into("<I", file, start + 2 + 12 * entries, start)  # the next page is this page
    harmless = tiff.harmless(bytes(file))
    start = struct.unpack_from("<I", harmless, 4)[0]
    entries = struct.unpack_from("<H", harmless, start)[0]
    assert struct.unpack_from("<I", harmless, start + 2 + 12 * entries) == (0,)


def test_a_thumbnail_is_not_taken_for_the_picture() -> None:
    with pytest.raises(ImageUndecodable, match="the first page of the TIFF picture is only a thumbnail"):
        tiff.size(with_tags({Tag.SUBFILE_TYPE: [1]}))


@pytest.mark.parametrize(
    ("tags", "what"),
    [
        ({Tag.BITS_PER_SAMPLE: [32] * 3, Tag.SAMPLE_FORMAT: [3] * 3}, "3 samples of 32 bits, sample format 3"),
        ({Tag.SAMPLE_FORMAT: [2] * 3}, "3 samples of 8 bits, sample format 2"),
        ({Tag.BITS_PER_SAMPLE: [12] * 3}, "3 samples of 12 bits"),
        ({Tag.BITS_PER_SAMPLE: [5, 6, 5]}, "3 samples of 5 bits"),
        ({Tag.BITS_PER_SAMPLE: [8, 16, 8]}, "3 samples of 8 bits"),
        ({Tag.SAMPLES_PER_PIXEL: [5], Tag.BITS_PER_SAMPLE: [8] * 5}, "5 samples of 8 bits"),
        ({Tag.PHOTOMETRIC: [6]}, "photometric interpretation 6"),
        ({Tag.PHOTOMETRIC: [8]}, "photometric interpretation 8"),
        ({Tag.PHOTOMETRIC: []}, "photometric interpretation -1"),
        ({Tag.BITS_PER_SAMPLE: []}, "3 samples of 1 bits"),
    ],
)
def test_samples_of_other_kinds_are_refused_with_what_is_taken(tags: dict[int, list[int]], what: str) -> None:
    assert_refused(with_tags(tags), f"{what}.*; taken are unsigned grey")


@pytest.mark.parametrize("compression", [0, 2, 3, 4, 6, 7, 34712, 34925, 50000, 50001])
def test_other_compressions_are_refused_with_what_is_taken(compression: int) -> None:
    assert_refused(with_tags({Tag.COMPRESSION: [compression]}), f"in compression {compression}; taken are none")


@pytest.mark.parametrize(("predictor", "bits"), [(3, 8), (9, 8), (2, 1)])
def test_a_predictor_must_go_with_the_samples(predictor: int, bits: int) -> None:
    tags = {Tag.COMPRESSION: [5], Tag.PREDICTOR: [predictor], Tag.BITS_PER_SAMPLE: [bits]}
    assert_refused(files.tiff(PICTURE[:, :, 0], tags, photometric=1), f"predictor {predictor}")


def test_a_predictor_of_pixels_without_compression_has_no_meaning() -> None:
    file = with_tags({Tag.PREDICTOR: [2]})
    np.testing.assert_array_equal(open_encoded(file, PLENTY).pixels((1, 1)), PICTURE)


@pytest.mark.parametrize("colors", [0, 3 * 255, 3 * 257])
def test_a_palette_must_have_a_colour_for_each_value(colors: int) -> None:
    file = files.tiff(PICTURE[:, :, 0], {Tag.COLOR_MAP: [7] * colors}, photometric=3)
    assert_refused(file, "no palette of 256 colours")


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("tile", [None, (64, 16)])
def test_a_picture_of_which_any_part_lies_outside_of_the_file_is_refused(
    tile: tuple[int, int] | None, compression: int
) -> None:
    file = with_tags(
        {Tag.COMPRESSION: [compression]}, rows=7, tile=tile, packed=zlib.compress if compression == 8 else bytes
    )
    tags = read_tags(file)
    place = Tag.TILE_OFFSETS if tile else Tag.STRIP_OFFSETS
    for index in range(len(tags[place])):
        moved = list(tags[place])
        moved[index] = len(file) + 1000
        assert_refused(tiff.with_tags(file, tags | {place: tuple(moved)}), "has not as many pixels as its tags say")


@pytest.mark.parametrize("place", [Tag.STRIP_OFFSETS, Tag.STRIP_BYTES])
@pytest.mark.parametrize("compression", [1, 8])
def test_a_strip_must_be_somewhere(compression: int, place: Tag) -> None:
    packed = zlib.compress if compression == 8 else bytes
    file = with_tags({Tag.COMPRESSION: [compression]}, rows=7, packed=packed)
    tags = read_tags(file)
    fewer = tiff.with_tags(file, tags | {place: tags[place][:-1]})
    if (compression, place) == (1, Tag.STRIP_BYTES):  # without compression that follows from the size
        np.testing.assert_array_equal(open_encoded(fewer, PLENTY).pixels((1, 1)), PICTURE)
    else:
        assert_refused(fewer, "has not as many pixels as its tags say")


def test_an_empty_strip_is_refused() -> None:
    assert_refused(with_tags({Tag.COMPRESSION: [8]}, packed=lambda _: b""), "has not as many pixels")


@pytest.mark.parametrize("rows", [0, HEIGHT + 1, 2**16 - 1])
def test_a_strip_has_no_more_rows_than_the_picture(rows: int) -> None:
    file = with_tags({Tag.ROWS_PER_STRIP: [rows]})
    assert read_tags(tiff.harmless(file))[Tag.ROWS_PER_STRIP] == (HEIGHT,)
    np.testing.assert_array_equal(open_encoded(file, PLENTY).pixels((1, 1)), PICTURE)


@pytest.mark.parametrize("tile", [(0, 16), (16, 0), (17, 65_535), (65_535, 65_535)])
def test_a_tile_of_nothing_or_much_larger_than_the_picture_is_refused(tile: tuple[int, int]) -> None:
    tags = {**read_tags(with_tags({})), Tag.TILE_WIDTH: tile[:1], Tag.TILE_HEIGHT: tile[1:]}
    assert_refused(files.tiff_of(tags, [bytes(8)]), f"has tiles of {tile[0]} x {tile[1]} pixels")


def test_more_strips_than_there_is_room_for_are_refused_without_counting_them_up() -> None:
    tags = read_tags(with_tags({})) | {Tag.WIDTH: (1,), Tag.HEIGHT: (20_000_000,), Tag.ROWS_PER_STRIP: (1,)}
    tracemalloc.start()
    try:
        assert_refused(tiff.with_tags(with_tags({}), tags), "has not as many pixels")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("tile", [(16, 16), (48, 16)])
def test_tiles_that_libtiff_cannot_read_without_compression_are_refused(tile: tuple[int, int]) -> None:
    size = tile[0] * tile[1] * 3
    assert_refused(with_tags({}, tile=tile), f"tiles of {size} bytes without compression, taken are multiples of 1024")
    file = with_tags({Tag.COMPRESSION: [8]}, tile=tile, packed=zlib.compress)
    np.testing.assert_array_equal(open_encoded(file, PLENTY).pixels((1, 1)), PICTURE)
