"""Pictures whose contents are known."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class QrPicture(NamedTuple):
    """A drawn QR code: uint8 (H, W, 3) RGB, and where the code lies, xyxy in its pixels."""

    image: NDArray[np.uint8]
    xyxy: tuple[int, int, int, int]


def qr_picture(width: int = 480, height: int = 360, x: int = 190, y: int = 90, module_px: int = 6) -> QrPicture:
    """One QR code on a tinted ground of which no two channels are alike."""
    code = cv2.QRCodeEncoder.create().encode("https://example.org/detector")
    quiet = np.argwhere(code == 0)
    (top, left), (bottom, right) = quiet.min(axis=0), quiet.max(axis=0) + 1
    code = cv2.resize(code[top:bottom, left:right], None, fx=module_px, fy=module_px, interpolation=cv2.INTER_NEAREST)
    side = code.shape[0]
    image = np.empty((height, width, 3), np.uint8)
    image[:] = (215, 205, 190)
    margin = 4 * module_px
    image[y - margin : y + side + margin, x - margin : x + side + margin] = 255
    image[y : y + side, x : x + side] = code[:, :, None]
    return QrPicture(image, (x, y, x + side, y + side))


def noise(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) that no format can make small."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png(image: NDArray[np.uint8]) -> bytes:
    """A PNG file of uint8 (H, W, 3) RGB or (H, W) grey."""
    return _encoded(image, ".png")


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """A JPEG file of uint8 (H, W, 3) RGB or (H, W) grey."""
    return _encoded(image, ".jpg")


def png_that_says(width: int, height: int) -> bytes:
    """A small PNG file whose header promises another size."""
    file = png(np.zeros((8, 8, 3), np.uint8))
    header = b"IHDR" + struct.pack(">II", width, height) + file[24:29]
    return file[:12] + header + struct.pack(">I", zlib.crc32(header)) + file[33:]


def jpeg_that_says(width: int, height: int) -> bytes:
    """A small JPEG file whose header promises another size."""
    file = jpeg(np.zeros((8, 8, 3), np.uint8))
    frame = file.index(b"\xff\xc0") + 5
    return file[:frame] + struct.pack(">HH", height, width) + file[frame + 4 :]


def _encoded(image: NDArray[np.uint8], suffix: str) -> bytes:
    ordered = image if image.ndim == 2 else np.ascontiguousarray(image[:, :, ::-1])
    done, file = cv2.imencode(suffix, ordered)
    assert done
    return file.tobytes()
