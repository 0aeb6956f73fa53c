"""What has to be known of a JPEG file (ITU-T T.81) before it is handed to a decoder."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.errors import ImageUndecodable

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNATURE = re.compile(rb"\xff\xd8\xff")

# Encoders write about ten. Each costs the decoder a pass over all pixels, and may be 50 bytes long: a file of 16 MB
# could keep it busy for ten minutes.
MAX_SCANS = 100

# A colour profile has up to 255, everything else a few. Empty ones, of which a file of 16 MB has room for four million,
# would keep us busy for seconds.
MAX_SEGMENTS = 4096

# FF and anything but FF, which fills, 00, which makes a data byte of the FF before it, and the markers without a length
# (table B.1): TEM and RST0 to RST7. A length read after one of those could hide the real size from us.
_MARKER = re.compile(rb"\xff([^\xff\x00\x01\xd0-\xd7])")
# Start-of-frame markers: SOF0 to SOF15 without DHT (C4), JPG (C8) and DAC (CC).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
_APP1 = 0xE1
_EXIF = b"Exif\0\0"


class _Segment(NamedTuple):
    marker: int
    payload: int


def size(data: bytes) -> tuple[int, int]:
    """Width and height from the first start-of-frame segment (B.2.2).

    Raises:
        ImageUndecodable: There is none before the first scan.
    """
    for marker, payload in _segments(data):
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            raise ImageUndecodable("the JPEG picture does not say its size")
        if marker in _START_OF_FRAME:
            if len(data) < payload + 5:
                break
            height, width = struct.unpack_from(">HH", data, payload + 1)
            return width, height
    raise ImageUndecodable("the JPEG picture ends within its header")


def exif(data: bytes) -> bytes:
    """The EXIF data from the first application segment that holds some; nothing if there is none before the scans."""
    for marker, payload in _segments(data):
        if marker == _APP1 and data.startswith(_EXIF, payload):
            (length,) = struct.unpack_from(">H", data, payload - 2)
            return data[payload + len(_EXIF) : payload - 2 + length]
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            break
    return b""


def harmless(data: bytes) -> bytes:
    """The file, if decoding it takes a time that its size in pixels explains.

    Raises:
        ImageUndecodable: It has too many scans.
    """
    scans = 0
    for marker, _ in _segments(data):
        if marker == _END_OF_IMAGE:
            break
        scans += marker == _START_OF_SCAN
        if scans > MAX_SCANS:
            raise ImageUndecodable(f"the JPEG picture has more than {MAX_SCANS} scans")
    return data


def _segments(data: bytes) -> Iterator[_Segment]:
    """Markers and where what their length covers begins, stepping over entropy-coded data like decoders do.

    Raises:
        ImageUndecodable: There are too many.
    """
    position = 2
    count = 0
    while found := _MARKER.search(data, position):
        payload = found.end() + 2
        count += 1
        if count > MAX_SEGMENTS:
            raise ImageUndecodable(f"the JPEG picture has more than {MAX_SEGMENTS} segments")
        yield _Segment(found[1][0], payload)
        if len(data) < payload:
            return
        (length,) = struct.unpack_from(">H", data, found.end())
        position = found.end() + max(length, 2)
