"""What is read of a TIFF file's tags, and what makes them unreadable."""

from __future__ import annotations

import struct

import pytest
from support import files

from detector_grpc.errors import ImageUndecodable
from detector_grpc.vision.tags import MAX_VALUES, UPRIGHT, Tag, orientation, read_tags, with_tags

TAGS = {Tag.WIDTH: [640], Tag.HEIGHT: [480], Tag.BITS_PER_SAMPLE: [8, 8, 8]}
READ = {tag: tuple(values) for tag, values in TAGS.items()} | {Tag.STRIP_OFFSETS: (8, 16), Tag.STRIP_BYTES: (8, 8)}
ENTRY = 12


def tiff(byte_order: str = "<") -> bytes:
    return files.tiff_of(TAGS, [bytes(8), bytes(8)], byte_order)


def one_entry(tag: int, kind: int, count: int, field: bytes, behind: bytes = b"") -> bytes:
    """A TIFF of nothing but that entry."""
    return b"II*\0" + struct.pack("<IHHHI", 8, 1, tag, kind, count) + field + bytes(4) + behind


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_short_and_long_values_are_read_wherever_they_lie(byte_order: str) -> None:
    assert read_tags(tiff(byte_order)) == READ


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_tags_that_are_written_are_read_again_and_no_others(byte_order: str) -> None:
    tags = {Tag.WIDTH: (7,), Tag.STRIP_OFFSETS: (1, 2, 3)}
    file = tiff(byte_order)
    written = with_tags(file, tags)
    assert read_tags(written) == tags
    assert written[8 : len(file)] == file[8:]


def test_a_single_byte_is_a_value_too() -> None:
    assert read_tags(one_entry(Tag.WIDTH, 1, 1, b"\x07\0\0\0")) == {Tag.WIDTH: (7,)}


def test_the_first_of_two_equal_tags_counts() -> None:
    first, second = (struct.pack("<HHII", Tag.WIDTH, 4, 1, width) for width in (7, 9))
    assert read_tags(b"II*\0" + struct.pack("<IH", 8, 2) + first + second + bytes(4)) == {Tag.WIDTH: (7,)}


@pytest.mark.parametrize(
    "entry",
    [
        (0xC612, 3, 1),  # not known
        (Tag.WIDTH, 5, 1),  # a fraction
        (Tag.WIDTH, 77, 1),  # no type at all
        (Tag.WIDTH, 3, 0),  # no value
    ],
)
def test_what_is_of_no_use_is_passed_over(entry: tuple[int, int, int]) -> None:
    assert read_tags(one_entry(*entry, bytes(4))) == {}


def test_further_directories_are_not_followed() -> None:
    file = bytearray(tiff())
    start = struct.unpack_from("<I", file, 4)[0]
    struct.pack_into("<I", file, start + 2 + ENTRY * len(READ), start)  # the next one is this one
    assert read_tags(bytes(file)) == READ


def test_a_file_that_ends_anywhere_before_its_last_value_is_refused() -> None:
    whole = tiff()
    assert read_tags(whole) == READ
    for end in range(len(whole)):
        with pytest.raises(ImageUndecodable, match="the TIFF picture"):
            read_tags(whole[:end])


@pytest.mark.parametrize("start", [0xFFFFFFFF, 0x7FFFFFFF, 100_000])
def test_a_directory_outside_of_the_file_is_refused(start: int) -> None:
    with pytest.raises(ImageUndecodable, match="the TIFF picture of 100 bytes ends within its tags"):
        read_tags(b"II*\0" + struct.pack("<I", start) + bytes(92))


def test_values_outside_of_the_file_are_refused() -> None:
    with pytest.raises(ImageUndecodable, match="ends within its tags"):
        read_tags(one_entry(Tag.BITS_PER_SAMPLE, 3, 3, struct.pack("<I", 0xFFFFFFF0)))


def test_the_number_of_values_is_limited_before_they_are_looked_for() -> None:
    behind = bytes(4 * (MAX_VALUES + 1))
    most = one_entry(Tag.STRIP_OFFSETS, 4, MAX_VALUES, struct.pack("<I", 26), behind)
    assert len(read_tags(most)[Tag.STRIP_OFFSETS]) == MAX_VALUES
    for count in (MAX_VALUES + 1, 2**32 - 1):
        with pytest.raises(ImageUndecodable, match=f"{count} values of tag 273, the limit is 65536"):
            read_tags(one_entry(Tag.STRIP_OFFSETS, 4, count, struct.pack("<I", 26), behind))


@pytest.mark.parametrize("data", [b"", b"II*", b"II\0*", b"MM*\0", b"Exif\0\0"])
def test_other_bytes_are_no_tiff(data: bytes) -> None:
    with pytest.raises(ImageUndecodable, match="has no header"):
        read_tags(data)


@pytest.mark.parametrize("value", range(1, 9))
def test_the_orientation_is_read(value: int) -> None:
    assert orientation(files.exif(value)) == value


@pytest.mark.parametrize("data", [b"", tiff(), files.exif(0), files.exif(9), files.exif(6)[:30]])
def test_without_an_orientation_a_picture_is_upright(data: bytes) -> None:
    assert orientation(data) == UPRIGHT
