"""The tags of TIFF files (TIFF 6.0, section 2), which are also how EXIF says which side of a picture is up."""

from __future__ import annotations

import contextlib
import struct
from enum import IntEnum

from detector_grpc.errors import ImageUndecodable

UPRIGHT = 1

# So many strips keep libtiff busy for a second; of nothing else that is read there are nearly as many.
MAX_VALUES = 65_536

_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
# Types of field whose values are unsigned integers: BYTE, SHORT and LONG.
_LONG = 4
_FORMS = {1: "B", 3: "H", _LONG: "I"}
_FIELD_BYTES = 4
_ENTRY_BYTES = 12


class Tag(IntEnum):
    """The tags that are read."""

    SUBFILE_TYPE = 254
    WIDTH = 256
    HEIGHT = 257
    BITS_PER_SAMPLE = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES_PER_PIXEL = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTES = 279
    PLANAR_CONFIGURATION = 284
    PREDICTOR = 317
    COLOR_MAP = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_BYTES = 325
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339


_READ = frozenset(Tag)
Tags = dict[int, tuple[int, ...]]


def first(tags: Tags, tag: Tag, default: int) -> int:
    """The first value of a tag."""
    return tags[tag][0] if tag in tags else default


def read_tags(data: bytes) -> Tags:
    """The tags of the first directory that we know and that have values of unsigned integers.

    Further directories are not looked at: they may go round in circles.

    Raises:
        ImageUndecodable: This is no TIFF file, a value does not fit into it, or a tag has too many values.
    """
    tags: Tags = {}
    order = _byte_order(data)
    try:
        (directory_at,) = struct.unpack_from(f"{order}I", data, 4)
        (entries,) = struct.unpack_from(f"{order}H", data, directory_at)
        for number in range(entries):
            entry_at = directory_at + 2 + number * _ENTRY_BYTES
            tag, kind, count = struct.unpack_from(f"{order}HHI", data, entry_at)
            if tag not in _READ or tag in tags or kind not in _FORMS or not count:
                continue
            if count > MAX_VALUES:
                raise ImageUndecodable(f"the TIFF picture has {count} values of tag {tag}, the limit is {MAX_VALUES}")
            form, values_at = f"{order}{count}{_FORMS[kind]}", entry_at + _ENTRY_BYTES - _FIELD_BYTES
            if struct.calcsize(form) > _FIELD_BYTES:
                (values_at,) = struct.unpack_from(f"{order}I", data, values_at)
            tags[tag] = struct.unpack_from(form, data, values_at)
    except struct.error:
        raise ImageUndecodable(f"the TIFF picture of {len(data)} bytes ends within its tags") from None
    return tags


def with_tags(data: bytes, tags: Tags) -> bytes:
    """The TIFF file with one directory, of these tags, at its end."""
    order, directory_at = _byte_order(data), len(data)
    values_at = directory_at + 2 + len(tags) * _ENTRY_BYTES + _FIELD_BYTES
    entries, values = [], []
    for tag, numbers in sorted(tags.items()):
        field = packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(packed) > _FIELD_BYTES:
            field = struct.pack(f"{order}I", values_at)
            values.append(packed)
            values_at += len(packed)
        entries.append(struct.pack(f"{order}HHI", tag, _LONG, len(numbers)) + field)
    header = data[:4] + struct.pack(f"{order}I", directory_at)
    count, no_further = struct.pack(f"{order}H", len(tags)), bytes(_FIELD_BYTES)
    return b"".join([header, memoryview(data)[len(header) :], count, *entries, no_further, *values])


def orientation(exif: bytes) -> int:
    """How the picture is stored (EXIF 2.3, 4.6.4, tag 0x0112). Range [1, 8]; upright if the bytes do not say it."""
    with contextlib.suppress(ImageUndecodable):
        value = first(read_tags(exif), Tag.ORIENTATION, UPRIGHT)
        if 1 <= value <= 8:  # noqa: PLR2004 the range
            return value
    return UPRIGHT


def _byte_order(data: bytes) -> str:
    try:
        return _BYTE_ORDERS[data[:4]]
    except KeyError:
        raise ImageUndecodable("the TIFF picture has no header") from None
