"""From a scene to a photo of it: light, lens, sensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from textures import clouds

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Camera:
    """Takes photos with faults.

    Args:
        rng: Where chance comes from.
        roughness: Chance of each fault, relative to that of real cameras; with 0 a photo is the scene itself.
    """

    def __init__(self, rng: np.random.Generator, roughness: float) -> None:
        self._rng = rng
        self._roughness = roughness

    def _happens(self, chance: float) -> bool:
        return bool(self._rng.random() < chance * self._roughness)

    def photograph(self, scene: NDArray[np.uint8], finest_px: float) -> NDArray[np.uint8]:
        """Return a scene, BGR uint8 [side, side, 3], as a photo.

        `finest_px` is the width of the finest module, which bounds blur: what is nothing but grey teaches nothing.
        """
        rng = self._rng
        image = self._lit(scene.astype(np.float32) * np.float32(1 / 255))
        if self._happens(0.4):
            image = image ** np.float32(rng.uniform(0.6, 1.6))
        if self._happens(0.35):
            contrast = rng.uniform(0.4, 1)
            image = image * np.float32(contrast) + np.float32(rng.uniform(0, 1 - contrast))
        if self._happens(0.3):
            image *= rng.uniform(0.8, 1.15, 3).astype(np.float32)
        image = self._focused(image, min(finest_px, 5.0))
        if self._happens(0.5):
            shape = image.shape if rng.random() < 0.5 else (*image.shape[:2], 1)
            image += np.float32(rng.uniform(0.003, 0.05)) * rng.standard_normal(shape, np.float32)
        if self._happens(0.15):
            image = cv2.addWeighted(image, 2, cv2.GaussianBlur(image, (0, 0), 1.5), -1, 0)
        if self._happens(0.2):
            image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
        return np.asarray(np.clip(image, 0, 1) * 255 + 0.5, np.uint8)

    def _lit(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Uneven light, a shadow, glare."""
        rng, side = self._rng, len(image)
        if self._happens(0.5):
            across, down = (int(each) for each in rng.integers(1, 3, 2))
            light = rng.uniform(0.4, 1) + rng.uniform(0.1, 0.8) * clouds(rng, side, side, across, down, 2, 0.5)
            image = image * light[..., None].astype(np.float32)
        if self._happens(0.25):
            shadow = np.zeros((side, side), np.float32)
            points = rng.integers(-side // 2, side * 3 // 2, (int(rng.integers(3, 6)), 2)).astype(np.int32)
            cv2.fillPoly(shadow, [points], rng.uniform(0.2, 0.65))
            image = image * (1 - cv2.blur(shadow, (int(rng.integers(1, 40)),) * 2))[..., None]
        if self._happens(0.12):
            line = np.arange(side, dtype=np.float32)
            across_glare, down_glare = (
                np.exp(-(((line - rng.uniform(0, side)) / (side * rng.uniform(0.04, 0.35))) ** 2)) for _ in range(2)
            )
            glare = rng.uniform(0.2, 0.9) * down_glare[:, None] * across_glare[None]
            image = image + glare.astype(np.float32)[..., None]
        return np.clip(image, 0, 1)

    def _focused(self, image: NDArray[np.float32], finest_px: float) -> NDArray[np.float32]:
        """Blur of several kinds, and too few pixels."""
        rng, side = self._rng, len(image)
        if self._happens(0.7):
            match rng.choice(["soft", "soft", "soft", "moved", "defocused"]):
                case "soft":
                    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, max(0.5, 0.85 * finest_px)))
                case "moved":
                    size = int(rng.uniform(2, max(3.1, 2.4 * finest_px)))
                    kernel = np.zeros((size, size), np.float32)
                    cv2.line(kernel, (0, int(rng.integers(size))), (size - 1, int(rng.integers(size))), 1.0)
                    image = cv2.filter2D(image, -1, (kernel if rng.random() < 0.5 else kernel.T) / kernel.sum())
                case _:
                    radius = int(rng.uniform(1, max(1.9, 1.2 * finest_px)))
                    kernel = np.zeros((2 * radius + 1,) * 2, np.float32)
                    cv2.circle(kernel, (radius, radius), radius, 1.0, -1)
                    image = cv2.filter2D(image, -1, kernel / kernel.sum())
        if self._happens(0.2):
            part = rng.uniform(max(0.4, min(1.0, 1.1 / finest_px)), 1)
            small = cv2.resize(image, None, fx=part, fy=part, interpolation=cv2.INTER_AREA)
            enlarge = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC
            image = cv2.resize(small, (side, side), interpolation=enlarge)
        return np.asarray(image, np.float32)
