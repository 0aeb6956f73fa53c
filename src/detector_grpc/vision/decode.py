"""Bytes to pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from detector_grpc.errors import ImageEmpty, ImageTooLarge, ImageUndecodable, RawImageInvalid
from detector_grpc.vision.header import read_header

if TYPE_CHECKING:
    from numpy.typing import NDArray

PixelFormat = Literal["RGB24", "BGR24", "GRAY8"]

_CHANNELS: dict[PixelFormat, int] = {"RGB24": 3, "BGR24": 3, "GRAY8": 1}


def decode(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Decodes a JPEG or PNG picture and applies its EXIF orientation.

    Grey, palette, 16-bit and CMYK pictures become 8-bit RGB; an alpha channel is dropped.

    Args:
        data: The whole file.
        max_pixels: Largest width * height that is decoded; checked before anything is allocated.

    Returns:
        uint8 (H, W, 3), RGB, upright.

    Raises:
        ImageEmpty: There are no bytes.
        ImageTooLarge: The header says more pixels than allowed.
        ImageUndecodable: The bytes are no JPEG or PNG, truncated, damaged, or made to keep a decoder busy.
    """
    if not data:
        raise ImageEmpty
    header = read_header(data)
    _check_pixels(header.width, header.height, max_pixels)
    harmless = header.format.harmless(data)
    try:
        image = cv2.imdecode(np.frombuffer(harmless, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        image = None
    if image is None:
        raise ImageUndecodable(f"the {header.format.name} picture of {len(data)} bytes is truncated or damaged")
    return image.astype(np.uint8, copy=False)


def from_raw(data: bytes, width: int, height: int, pixel_format: PixelFormat, max_pixels: int) -> NDArray[np.uint8]:
    """Makes a picture of uncompressed samples, rows from top to bottom without padding.

    Args:
        data: width * height * channels samples of 8 bits.
        width: Pixels per row.
        height: Number of rows.
        pixel_format: Order of the samples of a pixel.
        max_pixels: Largest width * height.

    Returns:
        uint8 (H, W, 3), RGB; a read-only view of `data` where that is possible.

    Raises:
        ImageTooLarge: There are more pixels than allowed.
        RawImageInvalid: The size is not positive, or does not fit the number of bytes.
    """
    if width <= 0 or height <= 0:
        raise RawImageInvalid(
            f"width and height must be positive, got {width} x {height}", {"width": width, "height": height}
        )
    _check_pixels(width, height, max_pixels)
    channels = _CHANNELS[pixel_format]
    expected = width * height * channels
    if len(data) != expected:
        raise RawImageInvalid(
            f"{width} x {height} pixels of {pixel_format} take {expected} bytes, got {len(data)}",
            {"expectedBytes": expected, "actualBytes": len(data)},
        )
    samples = np.frombuffer(data, np.uint8).reshape(height, width, channels)
    if pixel_format == "GRAY8":
        return np.repeat(samples, 3, axis=2)
    return samples if pixel_format == "RGB24" else samples[:, :, ::-1]


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageTooLarge(width, height, max_pixels)
