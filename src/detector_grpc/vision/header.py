"""Recognises picture files by their content, and reads what is to be known before anything is allocated for them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.errors import ImageUndecodable
from detector_grpc.vision import bmp, jpeg, png, tiff, webp
from detector_grpc.vision.tags import orientation

if TYPE_CHECKING:
    from collections.abc import Callable


class PictureFormat(NamedTuple):
    """How files of one format are read.

    Attributes:
        name: For people.
        suffixes: What names of files end with; of no meaning to their content.
        signature: What every file begins with.
        size: Reads width and height from the header.
        exif: Finds the EXIF data, empty if there are none.
        harmless: What of the file may be handed to the decoder; raises ImageUndecodable if it must not be.
        reducible: Whether decoding at a half, a quarter or an eighth of the size is cheaper than decoding.
    """

    name: str
    suffixes: tuple[str, ...]
    signature: re.Pattern[bytes]
    size: Callable[[bytes], tuple[int, int]]
    exif: Callable[[bytes], bytes]
    harmless: Callable[[bytes], bytes]
    reducible: bool = False


FORMATS = (
    PictureFormat("JPEG", (".jpg", ".jpeg"), jpeg.SIGNATURE, jpeg.size, jpeg.exif, jpeg.harmless, reducible=True),
    PictureFormat("PNG", (".png",), png.SIGNATURE, png.size, png.exif, png.harmless),
    PictureFormat("WebP", (".webp",), webp.SIGNATURE, webp.size, webp.exif, webp.harmless),
    PictureFormat("BMP", (".bmp",), bmp.SIGNATURE, bmp.size, bmp.exif, bmp.harmless),
    PictureFormat("TIFF", (".tif", ".tiff"), tiff.SIGNATURE, tiff.size, tiff.exif, tiff.harmless),
)
*_others, _last = (each.name for each in FORMATS)
FORMAT_NAMES = f"{', '.join(_others)} or {_last}"

# Formats that callers may expect to be taken, so that they are told which one they have sent.
_NOT_TAKEN = {
    "GIF": re.compile(rb"GIF8[79]a"),
    "AVIF": re.compile(rb".{4}ftypavi[fs]", re.DOTALL),
    "HEIF": re.compile(rb".{4}ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1)", re.DOTALL),
    "BigTIFF": re.compile(rb"II\+\0|MM\0\+"),
}

_FIRST_ON_ITS_SIDE = 5  # of the EXIF orientations


class Header(NamedTuple):
    """What is known of a stored picture before it is decoded.

    Attributes:
        format: Its format.
        width: Of the picture as stored, pixels.
        height: Of the picture as stored, pixels.
        orientation: How it is stored, as EXIF numbers that. Range [1, 8].
    """

    format: PictureFormat
    width: int
    height: int
    orientation: int

    @property
    def lies_on_its_side(self) -> bool:
        """Whether width and height of the upright picture are the other way round."""
        return self.orientation >= _FIRST_ON_ITS_SIDE

    @property
    def image_wh(self) -> tuple[int, int]:
        """Size of the upright picture, pixels."""
        return (self.height, self.width) if self.lies_on_its_side else (self.width, self.height)


def read_header(data: bytes) -> Header:
    """Recognises a picture file.

    Raises:
        ImageUndecodable: The bytes are of no format that we read, or end before the size is known.
    """
    for each in FORMATS:
        if each.signature.match(data):
            width, height = each.size(data)
            if width == 0 or height == 0:
                raise ImageUndecodable(f"the header of the {each.name} picture says {width} x {height} pixels")
            return Header(each, width, height, orientation(each.exif(data)))
    for name, signature in _NOT_TAKEN.items():
        if signature.match(data):
            raise ImageUndecodable(f"{name} pictures are not taken; send {FORMAT_NAMES}")
    raise ImageUndecodable(f"the bytes are no {FORMAT_NAMES} picture")
