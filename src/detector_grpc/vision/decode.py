"""Bytes to pixels."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

import cv2
import numpy as np

from detector_grpc.errors import ImageEmpty, ImageTooLarge, ImageUndecodable, RawImageInvalid
from detector_grpc.vision.header import Header, read_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PixelFormat = Literal["RGB24", "BGR24", "GRAY8"]

MAX_PIXELS = 2**30  # OpenCV decodes no more

_CHANNELS: dict[PixelFormat, int] = {"RGB24": 3, "BGR24": 3, "GRAY8": 1}

# Beside IMREAD_COLOR_RGB these say how far to reduce, and nothing about colour.
_REDUCED = {8: cv2.IMREAD_REDUCED_GRAYSCALE_8, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 2: cv2.IMREAD_REDUCED_GRAYSCALE_2}
# How much larger than needed a reduced picture must be. Measured on photos of 1.7 to 8.4 times their size: with this
# mAP50-95 changes by .003, with 1 by .008.
_REDUCED_MARGIN = 1.25

# Codes of cv2.flip by EXIF orientation; pictures that lie on their side are transposed before.
_LEFT_RIGHT, _TOP_BOTTOM, _BOTH = 1, 0, -1
_FLIPS = {2: _LEFT_RIGHT, 3: _BOTH, 4: _TOP_BOTTOM, 6: _LEFT_RIGHT, 7: _BOTH, 8: _TOP_BOTTOM}


class StoredPicture(NamedTuple):
    """A picture whose size is known, and whose pixels are still as they came.

    Attributes:
        image_wh: Size of the upright picture, pixels.
        pixels: Decodes it. Takes the width and height, pixels, to which the result is going to be resized, and returns
            uint8 (H, W, 3), RGB, upright, of size `image_wh`; or smaller, but larger than was asked for, where that
            costs less. Raises ImageUndecodable.
    """

    image_wh: tuple[int, int]
    pixels: Callable[[tuple[int, int]], NDArray[np.uint8]]


def open_encoded(data: bytes, max_pixels: int) -> StoredPicture:
    """Recognises a picture file.

    Its EXIF orientation is applied. Grey, palette, 16-bit and CMYK pictures become 8-bit RGB; an alpha channel is
    dropped. Of several pages or frames only the first counts.

    Args:
        data: The whole file.
        max_pixels: Largest width * height that is decoded; checked before anything is allocated.

    Raises:
        ImageEmpty: There are no bytes.
        ImageTooLarge: The header says more pixels than allowed.
        ImageUndecodable: The bytes are no picture of a format that is taken, or its header is damaged.
    """
    if not data:
        raise ImageEmpty
    header = read_header(data)
    _check_pixels(header.format.name, header.width, header.height, max_pixels)
    return StoredPicture(header.image_wh, partial(_decode, data, header))


def open_raw(data: bytes, width: int, height: int, pixel_format: PixelFormat, max_pixels: int) -> StoredPicture:
    """Takes uncompressed samples, rows from top to bottom without padding.

    Args:
        data: width * height * channels samples of 8 bits.
        width: Pixels per row.
        height: Number of rows.
        pixel_format: Order of the samples of a pixel.
        max_pixels: Largest width * height.

    Returns:
        A picture whose pixels are a read-only view of `data` where that is possible.

    Raises:
        ImageTooLarge: There are more pixels than allowed.
        RawImageInvalid: The size is not positive, or does not fit the number of bytes.
    """
    if width <= 0 or height <= 0:
        raise RawImageInvalid(
            f"width and height must be positive, got {width} x {height}", {"width": width, "height": height}
        )
    _check_pixels("raw", width, height, max_pixels)
    channels = _CHANNELS[pixel_format]
    expected = width * height * channels
    if len(data) != expected:
        raise RawImageInvalid(
            f"{width} x {height} pixels of {pixel_format} take {expected} bytes, got {len(data)}",
            {"expectedBytes": expected, "actualBytes": len(data)},
        )
    samples = np.frombuffer(data, np.uint8).reshape(height, width, channels)
    return StoredPicture((width, height), lambda _: _rgb(samples, pixel_format))


def _decode(data: bytes, header: Header, resized_wh: tuple[int, int]) -> NDArray[np.uint8]:
    harmless = header.format.harmless(data)
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    if header.format.reducible:
        flags |= _reduction(header.image_wh, resized_wh)
    try:
        image = cv2.imdecode(np.frombuffer(harmless, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise ImageUndecodable(f"the {header.format.name} picture of {len(data)} bytes is truncated or damaged")
    if header.lies_on_its_side:
        image = cv2.transpose(image)
    if header.orientation in _FLIPS:
        image = cv2.flip(image, _FLIPS[header.orientation], image)
    return image.astype(np.uint8, copy=False)


def _reduction(image_wh: tuple[int, int], resized_wh: tuple[int, int]) -> int:
    """The flag with which OpenCV decodes as few pixels as will do."""
    room = min(side / resized for side, resized in zip(image_wh, resized_wh, strict=True)) / _REDUCED_MARGIN
    return next((flag for factor, flag in _REDUCED.items() if factor <= room), 0)


def _rgb(samples: NDArray[np.uint8], pixel_format: PixelFormat) -> NDArray[np.uint8]:
    if pixel_format == "GRAY8":
        return np.repeat(samples, 3, axis=2)
    return samples if pixel_format == "RGB24" else samples[:, :, ::-1]


def _check_pixels(kind: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageTooLarge(kind, width, height, max_pixels)
