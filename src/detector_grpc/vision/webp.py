"""What has to be known of a WebP file (RFC 9649) before it is handed to a decoder."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.errors import ImageUndecodable

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNATURE = re.compile(rb"RIFF.{4}WEBP", re.DOTALL)

_HEADER_BYTES = 12
_MAX_CHUNKS = 65_536

_LOSSY, _LOSSLESS, _EXTENDED, _ANIMATION_FRAME = b"VP8 ", b"VP8L", b"VP8X", b"ANMF"
_FRAME_HEADER_BYTES = 16  # of an ANMF chunk, before the chunks of the frame
_PICTURE_HEADER_BYTES = 10  # as far as the size
_SIDE = 0x3FFF  # sides have 14 bits
_EXIF_PREFIX = b"Exif\0\0"  # does not belong here; some writers have copied it from their JPEG files


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    end: int


def size(data: bytes) -> tuple[int, int]:
    """Width and height from the header of the picture, or of the first frame of an animation.

    Raises:
        ImageUndecodable: A chunk does not fit, there is no picture, or it is not as large as the file says.
    """
    stored_wh, canvas_wh = _picture_wh(data), _canvas_wh(data)
    if canvas_wh is not None and canvas_wh != stored_wh:
        (width, height), (canvas_width, canvas_height) = stored_wh, canvas_wh
        raise ImageUndecodable(
            f"the WebP picture, or the first frame of an animation, is {width} x {height}, "
            f"and must fill the canvas of {canvas_width} x {canvas_height}"
        )
    return stored_wh


def exif(data: bytes) -> bytes:
    """The EXIF data; nothing if there is none."""
    blocks = (data[start:end] for kind, start, end in _chunks(data, _HEADER_BYTES, len(data)) if kind == b"EXIF")
    return next(blocks, b"").removeprefix(_EXIF_PREFIX)


def harmless(data: bytes) -> bytes:
    """A file with nothing but the colours of the picture, or of the first frame of an animation."""
    kind, start, end = _picture(data)
    chunk = b"".join([kind, struct.pack("<I", end - start), memoryview(data)[start:end], bytes((end - start) % 2)])
    return b"".join([b"RIFF", struct.pack("<I", 4 + len(chunk)), b"WEBP", chunk])


def _picture(data: bytes) -> _Chunk:
    """The first chunk with pixels, which an animation keeps within its first frame."""
    for chunk in _chunks(data, _HEADER_BYTES, len(data)):
        inner = [chunk]
        if chunk.kind == _ANIMATION_FRAME:
            inner = list(_chunks(data, chunk.start + _FRAME_HEADER_BYTES, chunk.end))
        for each in inner:
            if each.kind in (_LOSSY, _LOSSLESS):
                return each
    raise ImageUndecodable("the WebP picture has no pixels")


def _picture_wh(data: bytes) -> tuple[int, int]:
    kind, start, end = _picture(data)
    header = data[start : min(end, start + _PICTURE_HEADER_BYTES)].ljust(_PICTURE_HEADER_BYTES, b"\0")
    if kind == _LOSSLESS and header.startswith(b"\x2f"):
        (bits,) = struct.unpack_from("<I", header, 1)
        return (bits & _SIDE) + 1, (bits >> 14 & _SIDE) + 1
    if kind == _LOSSY and header.startswith(b"\x9d\x01\x2a", 3):
        width, height = struct.unpack_from("<HH", header, 6)
        return width & _SIDE, height & _SIDE
    raise ImageUndecodable("the WebP picture does not say its size")


def _canvas_wh(data: bytes) -> tuple[int, int] | None:
    """What the file says beside the picture; nothing if it is of the simple form."""
    for kind, start, _ in _chunks(data, _HEADER_BYTES, len(data)):
        if kind == _EXTENDED:
            return (
                int.from_bytes(data[start + 4 : start + 7], "little") + 1,
                int.from_bytes(data[start + 7 : start + 10], "little") + 1,
            )
    return None


def _chunks(data: bytes, start: int, end: int) -> Iterator[_Chunk]:
    for _ in range(_MAX_CHUNKS):
        if end < start + 8:
            return
        kind, length = struct.unpack_from("<4sI", data, start)
        chunk = _Chunk(kind, start + 8, start + 8 + length)
        if end < chunk.end:
            raise ImageUndecodable(f"the WebP picture of {len(data)} bytes ends within a chunk")
        yield chunk
        start = chunk.end + length % 2
    raise ImageUndecodable(f"the WebP picture has more than {_MAX_CHUNKS} chunks")
