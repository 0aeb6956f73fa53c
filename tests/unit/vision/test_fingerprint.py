"""Fingerprints tell scenes apart, and not what noise, light and compression do to one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from support.samples import scene

from detector_grpc.vision.fingerprint import FINGERPRINT_BYTES, fingerprint, is_near

SCENE = scene(1)


def test_it_has_one_length_whatever_the_size() -> None:
    assert {len(fingerprint(scene(1, *wh))) for wh in ((1, 1), (7, 300), (640, 480))} == {FINGERPRINT_BYTES}


def test_scenes_differ() -> None:
    known = [fingerprint(scene(seed)) for seed in range(2, 40)]

    assert not is_near(fingerprint(SCENE), known)
    assert is_near(fingerprint(SCENE), [*known, fingerprint(SCENE)])
    assert not is_near(fingerprint(SCENE), [])


@pytest.mark.parametrize("image", [SCENE, np.full((240, 320, 3), 140, np.uint8)])
def test_noise_light_and_compression_do_not_count(image: np.ndarray) -> None:  # type: ignore[type-arg]
    noisy = (image + np.random.default_rng(0).normal(0, 12, image.shape)).clip(0, 255).astype(np.uint8)
    brighter = (image.astype(np.int16) * 0.8 + 20).astype(np.uint8)
    compressed = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], cv2.IMREAD_COLOR)

    for changed in (noisy, compressed.astype(np.uint8)):
        assert is_near(fingerprint(changed), [fingerprint(image)])
    if image.std() == 0:
        assert is_near(fingerprint(brighter), [fingerprint(image)])


def test_an_object_that_fills_a_fiftieth_of_the_picture_counts() -> None:
    wall = np.full((240, 320, 3), 140, np.uint8)
    with_object = wall.copy()
    with_object[100:140, 150:190] = 60

    assert not is_near(fingerprint(with_object), [fingerprint(wall)])
