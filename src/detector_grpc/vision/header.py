"""Reads format and size from the start of a picture file, so that nothing is allocated for one that is refused."""

from __future__ import annotations

import struct
from typing import NamedTuple

from detector_grpc.errors import ImageUndecodable

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"

_MARKER = 0xFF
# Markers without a length (ITU-T T.81, table B.1): TEM and RST0 to RST7; and FF 00, which is no marker. The decoder
# steps over it, and a length read after it could hide the real size from us.
_JPEG_STANDALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD8)})
# Start-of-frame markers: SOF0 to SOF15 without DHT (C4), JPG (C8) and DAC (CC).
_JPEG_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_START_OF_SCAN = 0xDA
_JPEG_END_OF_IMAGE = 0xD9

# At the 8 KiB that encoders use, half a GiB.
_MAX_PNG_CHUNKS = 65_536


class Header(NamedTuple):
    """Format and size of a stored picture, before its EXIF orientation is applied."""

    format: str
    width: int
    height: int


def read_header(data: bytes) -> Header:
    """Recognises a picture file by its content.

    Raises:
        ImageUndecodable: The bytes are no JPEG or PNG, or end before the size is known.
    """
    if data.startswith(JPEG_SIGNATURE):
        header = Header("jpeg", *_jpeg_size(data))
    elif data.startswith(PNG_SIGNATURE):
        header = Header("png", *_png_size(data))
    else:
        raise ImageUndecodable("the bytes are neither a JPEG nor a PNG picture")
    if header.width == 0 or header.height == 0:
        raise ImageUndecodable(f"the header says {header.width} x {header.height} pixels")
    return header


def check_png_chunks(data: bytes) -> None:
    """Refuses chunks that say to be longer than the file: OpenCV allocates and clears what they say, up to 4 GiB.

    Raises:
        ImageUndecodable: A chunk does not fit, the last one is missing, or there are too many to look at.
    """
    position = len(PNG_SIGNATURE)
    for _ in range(_MAX_PNG_CHUNKS):
        if len(data) < position + 8:
            raise ImageUndecodable(f"the PNG picture of {len(data)} bytes ends before its last chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        position += 12 + length
        if len(data) < position:
            raise ImageUndecodable(f"the PNG picture of {len(data)} bytes ends within a chunk")
        if kind == b"IEND":
            return
    raise ImageUndecodable(f"the PNG picture has more than {_MAX_PNG_CHUNKS} chunks")


def _png_size(data: bytes) -> tuple[int, int]:
    """Width and height from the IHDR chunk, which comes first (PNG specification, 11.2.1)."""
    end_of_header = 33
    if len(data) < end_of_header or data[12:16] != b"IHDR":
        raise ImageUndecodable("the PNG picture has no complete header")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height from the first start-of-frame segment (ITU-T T.81, B.2.2)."""
    position = 2
    while True:
        position = data.find(b"\xff", position)
        while 0 <= position < len(data) and data[position] == _MARKER:  # any number of fill bytes may come first
            position += 1
        if not 0 < position < len(data):
            raise ImageUndecodable("the JPEG picture ends within its header")
        marker = data[position]
        position += 1
        if marker in _JPEG_STANDALONE:
            continue
        if marker in (_JPEG_START_OF_SCAN, _JPEG_END_OF_IMAGE):
            raise ImageUndecodable("the JPEG picture does not say its size")
        if marker in _JPEG_START_OF_FRAME:
            if len(data) < position + 7:
                raise ImageUndecodable("the JPEG picture ends within its header")
            height, width = struct.unpack_from(">HH", data, position + 3)
            return width, height
        if len(data) < position + 2:
            raise ImageUndecodable("the JPEG picture ends within its header")
        (length,) = struct.unpack_from(">H", data, position)
        position += max(length, 2)
