"""Changes of the world, for trying out whether they are noticed: what happens to cameras, done to pictures.

A shift takes a picture, RGB, uint8 (H, W, 3), a strength from 0, nothing, to 1, what a person sees at once, and chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Shift = Callable[[Image, float, np.random.Generator], Image]

FOG_LIGHT = 200


def night(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Less light, down to an eighth of it, and the noise of a sensor that amplifies what is left."""
    return noise(_clipped(image * (1 - 0.875 * strength)), 0.1 * strength, rng)


def fog(image: Image, strength: float, rng: np.random.Generator) -> Image:  # noqa: ARG001
    """Light that is scattered on its way covers the picture, up to 80 % of it (Koschmieder 1924, at one distance)."""
    return _clipped(image * (1 - 0.8 * strength) + FOG_LIGHT * 0.8 * strength)


def defocus(image: Image, strength: float, rng: np.random.Generator) -> Image:  # noqa: ARG001
    """A Gaussian blur, up to a hundredth of the width as its standard deviation."""
    sigma_px = image.shape[1] / 100 * strength
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.uint8) if sigma_px > 0 else image


def compression(image: Image, strength: float, rng: np.random.Generator) -> Image:  # noqa: ARG001
    """JPEG, down to quality 5."""
    quality = round(95 - 90 * strength)
    _, file = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR_RGB), np.uint8)


def noise(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """White noise in each channel, up to a standard deviation of 40."""
    return _clipped(image + rng.normal(0, 40 * strength, image.shape).astype(np.float32))


def rotation(image: Image, strength: float, rng: np.random.Generator) -> Image:  # noqa: ARG001
    """A camera that was knocked, by up to 45 degrees; beyond its old edges it sees their mirror image."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 45 * strength, 1)
    turned = cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(turned, np.uint8)


def dead(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """A camera that sends black pictures, more and more often."""
    return np.zeros_like(image) if rng.random() < strength else image


SHIFTS: Mapping[str, Shift] = {
    shift.__name__: shift for shift in (night, fog, defocus, compression, noise, rotation, dead)
}

# Not done to pictures: others take their place.
CLASS_MIX, FROZEN = "class_mix", "frozen"


def frozen() -> Shift:
    """A camera that hangs: the picture before again, more and more often."""
    last: list[Image] = []

    def shift(image: Image, strength: float, rng: np.random.Generator) -> Image:
        if not last or rng.random() >= strength:
            last[:] = [image]
        return last[0]

    return shift


def class_mix(others: Iterator[Image]) -> Shift:
    """Pictures of other things, more and more often.

    Args:
        others: These pictures, RGB; they do not end.
    """

    def shift(image: Image, strength: float, rng: np.random.Generator) -> Image:
        return next(others) if rng.random() < strength else image

    return shift


class Replay:
    """Pictures as they are, and from a moment on changed. Another thread than the one that reads them may begin that.

    Args:
        shift: What changes them.
        strength: How much: from 0, nothing, to 1, what a person sees at once.
        begins_at: Number of the first picture that is changed, from 0; None: none before `begin`.
        seed: Of what happens by chance.

    Attributes:
        read: Pictures that were read.
        changed: Those among them that were changed.
    """

    def __init__(self, shift: Shift, strength: float, begins_at: int | None = None, seed: int = 0) -> None:
        self._shift = shift
        self._strength = strength
        self._begins_at = begins_at
        self._rng = np.random.default_rng(seed)
        self.read = 0
        self.changed = 0

    @property
    def has_begun(self) -> bool:
        """Whether the next picture is changed."""
        return self._begins_at is not None and self.read >= self._begins_at

    def begin(self) -> None:
        """Changes all that are read from now on."""
        self._begins_at = 0

    def of(self, images: Iterable[Image]) -> Iterator[Image]:
        """The pictures; RGB, uint8 (H, W, 3)."""
        for image in images:
            is_changed = self.has_begun
            self.read += 1
            self.changed += is_changed
            yield self._shift(image, self._strength, self._rng) if is_changed else image


def _clipped(image: NDArray[Any]) -> Image:
    clipped: Image = np.clip(image, 0, 255).astype(np.uint8)
    return clipped
