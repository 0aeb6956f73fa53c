"""What has to be known of a PNG file (W3C PNG specification) before it is handed to a decoder."""

from __future__ import annotations

import re
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.errors import ImageUndecodable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SIGNATURE = re.compile(rb"\x89PNG\r\n\x1a\n")

_SIGNATURE_BYTES = 8
_CHUNK_BYTES = 12  # of a chunk without data: length, kind, checksum

# What makes the pixels. Of all else nothing is used, and some of it is compressed: texts of 4 MB in all could unpack to
# gigabytes, and keep the decoder busy for seconds.
_KEPT = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})

# At the 8 KiB that encoders use, half a GiB.
_MAX_CHUNKS = 65_536

# Samples of a pixel by colour type (11.2.1).
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Compressed data of this size can unpack to 1 GiB, which takes a decoder no longer than the largest pictures. To look
# into all data would cost nearly as much as to decode them.
_UNSUSPICIOUS_BYTES = 1 << 20
_PACKED_STEP_BYTES, _UNPACKED_STEP_BYTES = 1 << 16, 1 << 20


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    end: int


def size(data: bytes) -> tuple[int, int]:
    """Width and height from the IHDR chunk, which comes first (11.2.1).

    Raises:
        ImageUndecodable: It does not.
    """
    end_of_header = 33
    if len(data) < end_of_header or data[12:16] != b"IHDR":
        raise ImageUndecodable("the PNG picture has no complete header")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def exif(data: bytes) -> bytes:
    """The EXIF data; nothing if there is none.

    Raises:
        ImageUndecodable: As `harmless`.
    """
    return next((data[start + 8 : end - 4] for kind, start, end in _chunks(data) if kind == b"eXIf"), b"")


def harmless(data: bytes) -> bytes:
    """The file without the chunks that no colour depends on; of an animation only the still picture.

    A chunk that says to be longer than the file is refused: OpenCV allocates and clears what it says, up to 4 GiB.

    Raises:
        ImageUndecodable: A chunk does not fit, the last one is missing, there are too many to look at, or they unpack
            to more than the picture.
    """
    kept = [chunk for chunk in _chunks(data) if chunk.kind in _KEPT]
    view = memoryview(data)
    pixels = [view[start + 8 : end - 4] for kind, start, end in kept if kind == b"IDAT"]
    if sum(map(len, pixels)) > _UNSUSPICIOUS_BYTES:
        _check_unpacked(pixels, _most_unpacked_bytes(data))
    return b"".join([view[:_SIGNATURE_BYTES], *(view[start:end] for _, start, end in kept)])


def _chunks(data: bytes) -> Iterator[_Chunk]:
    start = _SIGNATURE_BYTES
    for _ in range(_MAX_CHUNKS):
        if len(data) < start + 8:
            raise ImageUndecodable(f"the PNG picture of {len(data)} bytes ends before its last chunk")
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + _CHUNK_BYTES + length
        if len(data) < end:
            raise ImageUndecodable(f"the PNG picture of {len(data)} bytes ends within a chunk")
        yield _Chunk(kind, start, end)
        if kind == b"IEND":
            return
        start = end
    raise ImageUndecodable(f"the PNG picture has more than {_MAX_CHUNKS} chunks")


def _most_unpacked_bytes(data: bytes) -> int:
    """What the pixels take with a filter byte for each row, and as much again, which interlacing does not need."""
    width, height = size(data)
    bits, color_type = data[24], data[25]
    if color_type not in _SAMPLES:
        raise ImageUndecodable(f"the PNG picture has colour type {color_type}, which there is not")
    return 2 * height * (1 + -(-width * bits * _SAMPLES[color_type] // 8))


def _check_unpacked(pixels: Sequence[memoryview], most: int) -> None:
    """Refuses data that unpack to far more than the picture, which libpng would go through to their end.

    Deflate makes 1 KiB of a byte, so that a file of 16 MB would take it half a minute.
    """
    inflater, unpacked = zlib.decompressobj(), 0
    for chunk in pixels:
        for start in range(0, len(chunk), _PACKED_STEP_BYTES):
            packed: bytes | memoryview = chunk[start : start + _PACKED_STEP_BYTES]
            while packed and not inflater.eof:
                try:
                    unpacked += len(inflater.decompress(packed, _UNPACKED_STEP_BYTES))
                except zlib.error:
                    raise ImageUndecodable("the PNG picture has damaged pixels") from None
                if unpacked > most:
                    raise ImageUndecodable(f"the PNG picture unpacks to more than {most} bytes, far more than its size")
                packed = inflater.unconsumed_tail
