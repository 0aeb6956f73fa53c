"""What has to be known of a BMP file (Windows' and OS/2's) before it is handed to a decoder."""

from __future__ import annotations

import re
import struct

from detector_grpc.errors import ImageUndecodable

SIGNATURE = re.compile(rb"BM")

_HEADER_AT = 14
_MASKS_AT = 54
_OS2_HEADER_BYTES = 12
# OS/2 1, Windows 3, two of Photoshop's, OS/2 2, Windows 95 and 98.
_HEADERS_BYTES = frozenset({_OS2_HEADER_BYTES, 40, 52, 56, 64, 108, 124})

_UNCOMPRESSED, _RLE8, _BIT_FIELDS = 0, 1, 3
_BITS = {_UNCOMPRESSED: (1, 4, 8, 16, 24, 32), _RLE8: (8,), _BIT_FIELDS: (16, 32)}

# The masks of red, green and blue lie at the same place in or behind every header. OpenCV finds them there only if the
# header says to have this size, and of 16 bits it reads only these masks.
_HEADER_BYTES_WITH_MASKS = {16: 40, 32: 56}
_MASKS = {16: ((0x7C00, 0x03E0, 0x001F), (0xF800, 0x07E0, 0x001F))}


def size(data: bytes) -> tuple[int, int]:
    """Width and height; negative heights are those of pictures whose first row is the top one.

    Raises:
        ImageUndecodable: The header is of no known kind, or ends before the size.
    """
    try:
        (header_bytes,) = struct.unpack_from("<I", data, _HEADER_AT)
        if header_bytes not in _HEADERS_BYTES:
            raise ImageUndecodable(f"the BMP picture has a header of {header_bytes} bytes, which there is not")
        width, height = struct.unpack_from("<HH" if header_bytes == _OS2_HEADER_BYTES else "<ii", data, _HEADER_AT + 4)
    except struct.error:
        raise ImageUndecodable("the BMP picture ends within its header") from None
    return max(width, 0), abs(height)


def harmless(data: bytes) -> bytes:
    """The file, with a header that OpenCV understands.

    Raises:
        ImageUndecodable: It is compressed in a way that is not taken, or has less pixels than its size says.
    """
    try:
        (pixels_at,) = struct.unpack_from("<I", data, 10)
        (header_bytes,) = struct.unpack_from("<I", data, _HEADER_AT)
        compression = _UNCOMPRESSED
        if header_bytes == _OS2_HEADER_BYTES:
            (bits,) = struct.unpack_from("<H", data, _HEADER_AT + 10)
        else:
            bits, compression = struct.unpack_from("<HI", data, _HEADER_AT + 14)
        masks = struct.unpack_from("<III", data, _MASKS_AT) if compression == _BIT_FIELDS else ()
    except struct.error:
        raise ImageUndecodable("the BMP picture ends within its header") from None
    if bits not in _BITS.get(compression, ()) or (masks and masks not in _MASKS.get(bits, [masks])):
        raise ImageUndecodable(
            f"the BMP picture has {bits} bits a pixel in compression {compression}; taken are 1, 4, 8, 16 (5-5-5 or "
            "5-6-5), 24 and 32 bits without compression, and 8 bits in RLE8"
        )
    width, height = size(data)
    row_bytes = (width * bits + 31) // 32 * 4
    if pixels_at < _HEADER_AT + header_bytes or (compression != _RLE8 and len(data) < pixels_at + row_bytes * height):
        raise ImageUndecodable(f"the BMP picture of {len(data)} bytes has not as many pixels as its header says")
    if masks:
        patched = struct.pack("<I", _HEADER_BYTES_WITH_MASKS[bits])
        return b"".join([data[:_HEADER_AT], patched, memoryview(data)[_HEADER_AT + 4 :]])
    return data


def exif(_: bytes) -> bytes:
    """There is no place for it."""
    return b""
