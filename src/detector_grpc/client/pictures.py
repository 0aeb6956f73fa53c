"""Pictures as callers have them, made into what the contract takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from detector_grpc._gen.detector.v1 import image_pb2
from detector_grpc.errors import ImageError
from detector_grpc.vision.decode import MAX_PIXELS, StoredPicture, open_encoded
from detector_grpc.vision.encode import JPEG_QUALITY, encode_jpeg
from detector_grpc.vision.letterbox import Letterbox

if TYPE_CHECKING:
    from collections.abc import Mapping

# A path of a picture file, such a file's bytes, or pixels: uint8 (H, W, 3), or (H, W) for grey.
Picture: TypeAlias = str | Path | bytes | NDArray[np.uint8]
Color = Literal["RGB", "BGR"]

_FORMATS: Mapping[Color, image_pb2.PixelFormat] = {
    "RGB": image_pb2.PIXEL_FORMAT_RGB24,
    "BGR": image_pb2.PIXEL_FORMAT_BGR24,
}
_GREY_DIMENSIONS = 2


def image_message(
    picture: Picture,
    color: Color,
    input_wh: tuple[int, int] | None = None,
    jpeg_quality: int | None = None,
) -> tuple[image_pb2.Image, image_pb2.ImageSize | None]:
    """Makes the picture of a request.

    Args:
        picture: Files and their bytes are sent as they are.
        color: Order of the channels where `picture` is uint8 (H, W, 3); else of no meaning.
        input_wh: Size of the model's input, in pixels. A picture that is larger is scaled down to fit into it, by the
            server's own rule, and sent as JPEG. A file that cannot be decoded here is sent as it is, so that it is
            always the server that says what is wrong with a picture.
        jpeg_quality: Quality at which pixels are sent as JPEG. Range [1, 100]. None: without compression.

    Returns:
        The picture and, where it was scaled down, the size of the upright picture before.

    Raises:
        OSError: The file cannot be read.
        TypeError: The picture is of none of the kinds.
        ValueError: The pixels are not uint8, not (H, W, 3) or (H, W), or none; or the colour order is not known.
    """
    source = Path(picture).read_bytes() if isinstance(picture, str | Path) else picture
    if not isinstance(source, bytes):
        _check(source, color)
    if input_wh is not None and (shrunk := _shrunk(source, color, input_wh, jpeg_quality or JPEG_QUALITY)) is not None:
        return shrunk
    if isinstance(source, bytes):
        return image_pb2.Image(encoded=source), None
    if jpeg_quality is not None:
        return _jpeg(_bgr_pixels(source, color), jpeg_quality), None
    return image_pb2.Image(raw=_raw(source, color)), None


def _check(pixels: NDArray[np.uint8], color: Color) -> None:
    if not isinstance(pixels, np.ndarray):
        raise TypeError(f"a picture is a path, bytes or a numpy array, not {type(pixels).__name__}")
    if pixels.dtype != np.uint8:
        raise ValueError(f"a picture's pixels are uint8, not {pixels.dtype}")
    is_grey = pixels.ndim == _GREY_DIMENSIONS
    if not is_grey and pixels.shape[2:] != (3,):
        raise ValueError(f"a picture's shape is (H, W, 3) or (H, W), not {pixels.shape}")
    if not pixels.size:
        raise ValueError(f"the picture has no pixels: its shape is {pixels.shape}")
    if color not in _FORMATS:
        raise ValueError(f'the colour order is "RGB" or "BGR", not "{color}"')


def _shrunk(
    source: bytes | NDArray[np.uint8], color: Color, input_wh: tuple[int, int], quality: int
) -> tuple[image_pb2.Image, image_pb2.ImageSize] | None:
    """The picture in the size that the model looks at, and its size before; None if it is not larger, or is damaged."""
    try:
        stored = _stored(source)
        resized_wh = Letterbox.fit(stored.image_wh, (input_wh[1], input_wh[0]), "letterbox").resized_wh
        if resized_wh[0] >= stored.image_wh[0] and resized_wh[1] >= stored.image_wh[1]:
            return None
        pixels = stored.pixels(resized_wh)
    except ImageError:
        return None
    shrunk = cv2.resize(np.ascontiguousarray(pixels), resized_wh, interpolation=cv2.INTER_AREA)
    if shrunk.ndim != _GREY_DIMENSIONS and (isinstance(source, bytes) or color == "RGB"):
        shrunk = cv2.cvtColor(shrunk, cv2.COLOR_RGB2BGR)
    width, height = stored.image_wh
    return _jpeg(shrunk, quality), image_pb2.ImageSize(width=width, height=height)


def _stored(source: bytes | NDArray[np.uint8]) -> StoredPicture:
    if isinstance(source, bytes):
        return open_encoded(source, MAX_PIXELS)
    height, width = source.shape[:2]
    return StoredPicture((width, height), lambda _: source)


def _bgr_pixels(pixels: NDArray[np.uint8], color: Color) -> NDArray[np.uint8]:
    if pixels.ndim == _GREY_DIMENSIONS or color == "BGR":
        return np.ascontiguousarray(pixels)
    return np.ascontiguousarray(pixels[:, :, ::-1])


def _jpeg(bgr: cv2.typing.MatLike, quality: int) -> image_pb2.Image:
    return image_pb2.Image(encoded=encode_jpeg(bgr, quality))


def _raw(pixels: NDArray[np.uint8], color: Color) -> image_pb2.RawImage:
    is_grey = pixels.ndim == _GREY_DIMENSIONS
    return image_pb2.RawImage(
        data=pixels.tobytes(),
        size=image_pb2.ImageSize(width=pixels.shape[1], height=pixels.shape[0]),
        format=image_pb2.PIXEL_FORMAT_GRAY8 if is_grey else _FORMATS[color],
    )
