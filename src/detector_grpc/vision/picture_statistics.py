"""How a picture looks, in a few numbers that a person would recognise.

Sums are over pixels; what a picture is too small or too plain to say is NaN.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from detector_grpc.vision.sample import BLOCK_PX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector_grpc.vision.sample import PictureSample

# Immerkaer's mask, which sees neither planes nor straight edges.
_NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


class PictureStatistics(NamedTuple):
    """Of one picture.

    Attributes:
        brightness: Mean luma (ITU-R BT.601). Range [0, 255].
        contrast: Standard deviation of luma (Peli 1990, RMS contrast). Range [0, 128].
        saturation: Mean saturation of HSV (Smith 1978). Range [0, 1].
        redness: Mean Cr (BT.601) around 0. Range [-128, 127].
        blueness: Mean Cb (BT.601) around 0. Range [-128, 127].
        upper_light: Mean luma of the upper half less that of the lower half. Range [-255, 255].
        left_light: Mean luma of the left half less that of the right half. Range [-255, 255].
        edge_upright: Cosine of twice the angle of the gradients, weighted by their squares (Bigun and Granlund 1987):
            1 where all edges are upright, -1 where all are level. NaN: no edges.
        edge_slant: Sine of the same. Range [-1, 1].
        sharpness: Of the second sharpest detail, log2(1 + variance of the Laplacian of luma) (Pech-Pacheco et al.
            2000); one less is edges of 0.7 times the contrast. Range [0, 17].
        noise: Standard deviation of noise in luma (Immerkaer 1996), median over the details. Range [0, 255].
        blockiness: How much larger steps of luma are at the borders of JPEG's blocks than elsewhere, in parts of the
            latter and one level, after Wang, Bovik and Evans (2000): of the eight phases of rows, and of columns, the
            largest mean and the median. 0: no blocks. Range [0, 255].
    """

    brightness: float
    contrast: float
    saturation: float
    redness: float
    blueness: float
    upper_light: float
    left_light: float
    edge_upright: float
    edge_slant: float
    sharpness: float
    noise: float
    blockiness: float


def picture_statistics(sample: PictureSample) -> PictureStatistics:
    """Looks at a picture: the whole for light and layout, its details for sharpness, noise and blocks."""
    luma, red, blue = cv2.split(cv2.cvtColor(sample.thumbnail, cv2.COLOR_RGB2YCrCb))
    height, width = luma.shape
    mean, spread = cv2.meanStdDev(luma)
    upright, slant = _edges(luma)
    sharpness, noise, blockiness = _texture(sample.details)
    return PictureStatistics(
        brightness=float(mean[0, 0]),
        contrast=float(spread[0, 0]),
        saturation=cv2.mean(cv2.cvtColor(sample.thumbnail, cv2.COLOR_RGB2HSV))[1] / 255,
        redness=cv2.mean(red)[0] - 128,
        blueness=cv2.mean(blue)[0] - 128,
        upper_light=_difference(luma[: height // 2], luma[-(height // 2) :]) if height > 1 else math.nan,
        left_light=_difference(luma[:, : width // 2], luma[:, -(width // 2) :]) if width > 1 else math.nan,
        edge_upright=upright,
        edge_slant=slant,
        sharpness=sharpness,
        noise=noise,
        blockiness=blockiness,
    )


def _difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(cv2.mean(one)[0] - cv2.mean(other)[0])


def _edges(luma: NDArray[Any]) -> tuple[float, float]:
    across = cv2.Sobel(luma, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(luma, cv2.CV_32F, 0, 1)
    xx, yy, xy = (float(np.vdot(one, other)) for one, other in ((across, across), (down, down), (across, down)))
    if xx + yy == 0:
        return math.nan, math.nan
    return (xx - yy) / (xx + yy), 2 * xy / (xx + yy)


def _texture(details: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Sharpness, noise and blockiness."""
    if not len(details):
        return math.nan, math.nan, math.nan
    lumas = [cv2.cvtColor(detail, cv2.COLOR_RGB2GRAY) for detail in details]
    inner = np.s_[1:-1, 1:-1]
    laplacians = [cv2.meanStdDev(cv2.Laplacian(luma, cv2.CV_32F)[inner])[1][0, 0] for luma in lumas]
    seconds = [cv2.norm(cv2.filter2D(luma, cv2.CV_32F, _NOISE_MASK)[inner], cv2.NORM_L1) for luma in lumas]
    pixels = (len(lumas[0]) - 2) ** 2
    return (
        math.log2(1 + sorted(laplacians)[-2] ** 2),
        math.sqrt(math.pi / 2) / 6 * float(np.median(seconds)) / pixels,
        _blockiness(np.stack(lumas).astype(np.int16)),
    )


def _blockiness(lumas: NDArray[np.int16]) -> float:
    excess = []
    for axis in (1, 2):
        steps = np.abs(np.diff(lumas, axis=axis)).mean(axis=(0, 3 - axis))
        # The step that is missing at the end is the one at the border of the last block.
        phases = np.array([steps[phase::BLOCK_PX].mean() for phase in range(BLOCK_PX)])
        typical = float(np.median(phases))
        excess.append((float(phases.max()) - typical) / (typical + 1))  # in a plain picture any step would be large
    return sum(excess) / 2
