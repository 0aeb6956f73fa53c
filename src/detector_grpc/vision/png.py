"""What has to be known of a PNG file (W3C PNG specification) before it is handed to a decoder."""

from __future__ import annotations

import struct

from detector_grpc.errors import ImageUndecodable

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# What makes the pixels, and which side is up. Of all else nothing is used, and some of it is compressed: texts of 4 MB
# in all could unpack to gigabytes, and keep the decoder busy for seconds.
_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND"})

# At the 8 KiB that encoders use, half a GiB.
_MAX_CHUNKS = 65_536


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


def harmless(data: bytes) -> bytes:
    """The file without the chunks that no pixel depends on; of an animation only the still picture.

    A chunk that says to be longer than the file is refused: OpenCV allocates and clears what it says, up to 4 GiB.

    Raises:
        ImageUndecodable: A chunk does not fit, the last one is missing, or there are too many to look at.
    """
    kept = [SIGNATURE]
    position = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if len(data) < position + 8:
            raise ImageUndecodable(f"the PNG picture of {len(data)} bytes ends before its last chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if len(data) < end:
            raise ImageUndecodable(f"the PNG picture of {len(data)} bytes ends within a chunk")
        if kind in _KEPT:
            kept.append(data[position:end])
        if kind == b"IEND":
            return b"".join(kept)
        position = end
    raise ImageUndecodable(f"the PNG picture has more than {_MAX_CHUNKS} chunks")
