from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from detector_grpc.drift.simulator import SHIFTS
from detector_grpc.vision.picture_statistics import PictureStatistics, picture_statistics
from detector_grpc.vision.sample import sample


def look(image: np.ndarray) -> PictureStatistics:
    return picture_statistics(sample(image.astype(np.uint8)))


def plain(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((240, 320, 3), (red, green, blue), np.uint8)


def scene(seed: int = 0) -> np.ndarray:
    """Blobs of all sizes, uint8 (480, 640, 3)."""
    rng = np.random.default_rng(seed)
    image = np.zeros((480, 640, 3))
    for side in (6, 12, 24, 48, 96, 192, 384):
        image += cv2.resize(rng.normal(0, 12, (side, side * 4 // 3, 3)), (640, 480), interpolation=cv2.INTER_CUBIC)
    return np.clip(image + 120, 0, 255).astype(np.uint8)


def test_a_plain_picture_has_its_light_and_nothing_else() -> None:
    seen = look(plain(90, 90, 90))

    assert seen.brightness == 90
    assert (seen.contrast, seen.saturation, seen.redness, seen.blueness) == pytest.approx((0, 0, 0, 0), abs=1e-5)
    assert (seen.sharpness, seen.noise, seen.blockiness) == (0, 0, 0)
    assert math.isnan(seen.edge_upright)
    assert math.isnan(seen.edge_slant)


@pytest.mark.parametrize(("color", "red_sign", "blue_sign"), [((200, 50, 50), 1, -1), ((50, 50, 200), -1, 1)])
def test_colours_are_told_apart(color: tuple[int, int, int], red_sign: int, blue_sign: int) -> None:
    seen = look(plain(*color))

    assert seen.saturation == pytest.approx(0.75, abs=0.01)
    assert seen.redness * red_sign > 5
    assert seen.blueness * blue_sign > 5


def test_light_has_a_side() -> None:
    image = plain(100, 100, 100)
    image[:120] += 60
    image[:, 160:] += 20

    seen = look(image)

    assert seen.upper_light == pytest.approx(60, abs=1)
    assert seen.left_light == pytest.approx(-20, abs=1)


def test_edges_have_a_direction_that_turns_with_the_picture() -> None:
    upright = np.kron(np.tile([0, 255], (1, 10)), np.ones((240, 16)))[:, :, None].repeat(3, axis=2)
    turned = cv2.warpAffine(upright, cv2.getRotationMatrix2D((160, 120), 45, 2), (320, 240))

    assert look(upright).edge_upright == pytest.approx(1)
    assert look(upright.transpose(1, 0, 2)).edge_upright == pytest.approx(-1)
    assert abs(look(turned).edge_upright) < 0.1
    assert abs(look(turned).edge_slant) > 0.9


@pytest.mark.parametrize("sigma", [2, 5, 15, 30])
def test_noise_is_measured(sigma: float) -> None:
    rng = np.random.default_rng(1)
    noisy = 128 + rng.normal(0, sigma, (480, 640, 1)).repeat(3, axis=2)

    assert look(noisy).noise == pytest.approx(sigma, rel=0.1)


def test_blur_costs_sharpness_and_blocks_show() -> None:
    rng = np.random.default_rng(1)
    sharp = scene()

    assert look(SHIFTS["defocus"](sharp, 0.5, rng)).sharpness < look(sharp).sharpness - 2
    assert look(SHIFTS["compression"](sharp, 1, rng)).blockiness > look(sharp).blockiness + 0.5
    assert look(sharp).blockiness < 0.1


@pytest.mark.parametrize("wh", [(1, 1), (300, 5), (5, 300), (47, 200), (48, 49), (161, 160), (1920, 1080), (1, 3000)])
def test_pictures_of_all_sizes_are_looked_at(wh: tuple[int, int]) -> None:
    width, height = wh
    kept = sample(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))

    seen = picture_statistics(kept)

    assert max(kept.thumbnail.shape[:2]) <= 160
    assert kept.thumbnail.nbytes + kept.details.nbytes <= 160 * 160 * 3 + 9 * 48 * 48 * 3
    assert seen.brightness == pytest.approx(127, abs=127)
    assert math.isnan(seen.sharpness) == (min(wh) < 48)


def test_what_is_kept_is_a_copy() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    kept = sample(image)

    image[:] = 255

    assert kept.thumbnail.max() == kept.details.max() == 0
