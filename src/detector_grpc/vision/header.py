"""Recognises picture files by their content, and reads their size, before anything is allocated for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.errors import ImageUndecodable
from detector_grpc.vision import jpeg, png

if TYPE_CHECKING:
    from collections.abc import Callable


class PictureFormat(NamedTuple):
    """How files of one format are read.

    Attributes:
        name: For people.
        signature: What every file begins with.
        size: Reads width and height from the header.
        harmless: What of the file may be handed to the decoder; raises ImageUndecodable if it must not be.
    """

    name: str
    signature: bytes
    size: Callable[[bytes], tuple[int, int]]
    harmless: Callable[[bytes], bytes]


FORMATS = (
    PictureFormat("JPEG", jpeg.SIGNATURE, jpeg.size, jpeg.harmless),
    PictureFormat("PNG", png.SIGNATURE, png.size, png.harmless),
)


class Header(NamedTuple):
    """Format and size of a stored picture, before its EXIF orientation is applied."""

    format: PictureFormat
    width: int
    height: int


def read_header(data: bytes) -> Header:
    """Recognises a picture file.

    Raises:
        ImageUndecodable: The bytes are of no format that we read, or end before the size is known.
    """
    for each in FORMATS:
        if data.startswith(each.signature):
            header = Header(each, *each.size(data))
            break
    else:
        raise ImageUndecodable("the bytes are neither a JPEG nor a PNG picture")
    if header.width == 0 or header.height == 0:
        raise ImageUndecodable(f"the header says {header.width} x {header.height} pixels")
    return header
