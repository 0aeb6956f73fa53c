"""No more pixels are decoded than will be looked at, where leaving them out costs less."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from support.files import encoded

from detector_grpc.vision.decode import open_encoded
from detector_grpc.vision.header import FORMATS
from detector_grpc.vision.letterbox import Letterbox

PLENTY = 10_000_000


def photo(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.dstack([x * 255 / width, y * 255 / height, np.full((height, width), 40)]).astype(np.uint8)


def jpeg(width: int, height: int, *flags: int) -> bytes:
    return encoded(".jpg", photo(width, height), cv2.IMWRITE_JPEG_QUALITY, 95, *flags)


@pytest.mark.parametrize(
    ("resized_wh", "decoded_wh"),
    [
        ((640, 480), (640, 480)),
        ((257, 192), (640, 480)),  # half of it is less than 1.25 times as large
        ((256, 193), (640, 480)),
        ((256, 192), (320, 240)),
        ((129, 96), (320, 240)),
        ((128, 96), (160, 120)),
        ((64, 48), (80, 60)),
        ((1, 1), (80, 60)),
        ((640, 1), (640, 480)),
        ((2000, 1500), (640, 480)),  # nothing is made larger
    ],
)
@pytest.mark.parametrize("flags", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)], ids=["baseline", "progressive"])
def test_a_jpeg_is_reduced_as_far_as_there_is_room(
    flags: tuple[int, ...], resized_wh: tuple[int, int], decoded_wh: tuple[int, int]
) -> None:
    stored = open_encoded(jpeg(640, 480, *flags), PLENTY)
    pixels = stored.pixels(resized_wh)
    assert stored.image_wh == (640, 480)
    assert pixels.shape[1::-1] == decoded_wh


@pytest.mark.parametrize("side", range(400, 417))
def test_a_reduced_picture_has_the_colours_of_the_whole_one_at_the_same_places(side: int) -> None:
    # Reduced sides are rounded up, so odd ones have a last column that stands for less than a whole one.
    stored = open_encoded(jpeg(side, side + 3), PLENTY)
    letterbox = Letterbox.fit(stored.image_wh, (64, 64), "letterbox")
    reduced, whole = stored.pixels(letterbox.resized_wh), stored.pixels(stored.image_wh)
    assert reduced.shape[0] == -(-whole.shape[0] // 4)
    difference = letterbox.apply(reduced, 114).astype(int) - letterbox.apply(whole, 114)
    assert np.abs(difference).max() <= 4
    assert np.abs(difference.mean(axis=(0, 1))).max() <= 1


def test_of_a_grey_jpeg_three_equal_channels_remain() -> None:
    file = encoded(".jpg", photo(640, 480)[:, :, 0])
    pixels = open_encoded(file, PLENTY).pixels((64, 48))
    assert pixels.shape == (60, 80, 3)
    assert (pixels == pixels[:, :, :1]).all()


@pytest.mark.parametrize("name", [each.name for each in FORMATS if not each.reducible])
def test_other_formats_are_decoded_whole(name: str) -> None:
    (suffix,) = (each.suffixes[0] for each in FORMATS if each.name == name)
    file = encoded(suffix, photo(640, 480))
    assert open_encoded(file, PLENTY).pixels((64, 48)).shape == (480, 640, 3)
