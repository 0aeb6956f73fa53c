"""What codes lie on or hang in front of: calm surfaces, patterns, the world outside, and places full of things."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from geometry import corners, warp
from prints import text_block
from sheets import random_colour
from symbols import random_text
from textures import FONTS, clouds, look_alike, write

if TYPE_CHECKING:
    from numpy.typing import NDArray


def surface(rng: np.random.Generator, side: int, *, is_busy: bool) -> NDArray[np.uint8]:
    """Return BGR uint8 [side, side, 3] without any code."""
    kind = rng.random()
    image = _calm(rng, side) if kind < 0.5 else _patterned(rng, side) if kind < 0.7 else _outside(rng, side)
    if is_busy:
        _things(rng, image, int(np.exp(rng.uniform(np.log(15), np.log(150)))))
    elif rng.random() < 0.5:
        _things(rng, image, int(rng.integers(1, 12)))
    return image


def _calm(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """Walls, tables, sky: clouds of two colours, or light that falls off to one side."""
    vivid = bool(rng.random() < 0.4)
    start = random_colour(rng, 0, 1, vivid=vivid)
    end = np.clip(start + rng.normal(0, 0.2, 3), 0, 1) if rng.random() < 0.6 else random_colour(rng, 0, 1, vivid=vivid)
    if rng.random() < 0.6:
        across, down = (int(each) for each in rng.choice([1, 2, 3, 8], 2))
        mix = clouds(rng, side, side, across, down, int(rng.integers(1, 8)), rng.uniform(0.3, 0.85))
    else:
        turn = rng.uniform(0, 2 * np.pi)
        line = np.linspace(-0.5, 0.5, side, dtype=np.float32)
        mix = np.clip(0.5 + np.cos(turn) * line[None] + np.sin(turn) * line[:, None], 0, 1)
    return _mixed(mix, start, end)


def _patterned(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """Cloth, tiles, shelves: a pattern all over, often seen at an angle."""
    mix = look_alike(rng, side, side).astype(np.float32) / 255
    if rng.random() < 0.5:
        start = corners(0, 0, side, side)
        end = start + rng.uniform(-0.4, 0.4, (4, 2)).astype(np.float32) * side
        mix = warp(mix, cv2.getPerspectiveTransform(start, end), side, side, cv2.BORDER_REFLECT)
    start_colour = random_colour(rng, 0, 1, vivid=bool(rng.random() < 0.4))
    return _mixed(mix, start_colour, np.clip(start_colour + rng.normal(0, rng.choice([0.1, 0.4]), 3), 0, 1))


def _outside(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """Streets, gardens, shops: regions with ragged or straight edges, each with a pattern, under one light."""
    image = _calm(rng, side)
    light = random_colour(rng, 0.5, 1)
    for _ in range(rng.integers(2, 9)):
        wide, high = (int(side * each) for each in rng.uniform(0.15, 1, 2))
        left, top = (int(rng.uniform(-0.1, 1.1) * (side - each)) for each in (wide, high))
        start, end = random_colour(rng, 0, 1) * light, random_colour(rng, 0, 1) * light
        drawn = _mixed(look_alike(rng, wide, high).astype(np.float32) / 255, start, end)
        cover = np.ones((high, wide), bool)
        if rng.random() < 0.6:
            edge = clouds(rng, wide, high, int(rng.integers(1, 4)), int(rng.integers(1, 4)), 6, 0.6)
            cover = edge > rng.uniform(0.2, 0.6)
        y1, x1, y2, x2 = max(0, top), max(0, left), min(side, top + high), min(side, left + wide)
        window = slice(y1 - top, y2 - top), slice(x1 - left, x2 - left)
        image[y1:y2, x1:x2][cover[window]] = drawn[window][cover[window]]
    return image


def _mixed(mix: NDArray[np.float32], start: NDArray[Any], end: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray((start + (end - start) * mix[..., None]) * 255, np.uint8)


def _things(rng: np.random.Generator, image: NDArray[np.uint8], count: int) -> None:
    """Lay shapes on each other, few large and many small ones, as the sizes of things in photos are distributed.

    This is the dead leaves model: Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 2001.
    """
    side = len(image)
    radii = np.sort(1 / np.sqrt(rng.uniform(1 / 0.3**2, 1 / 0.012**2, count)))[::-1] * side  # density r ** -3
    for radius in radii:
        x, y = rng.uniform(0, side, 2)
        colour = [float(each) for each in random_colour(rng, 0, 1, vivid=bool(rng.random() < 0.5)) * 255]
        kind = rng.random()
        if kind < 0.3:
            _patch(rng, image, x, y, radius)
        elif kind < 0.45:
            axes = (int(radius), max(1, int(radius * rng.uniform(0.2, 1))))
            cv2.ellipse(image, (int(x), int(y)), axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
        elif kind < 0.55:
            end = (int(x + rng.normal(0, radius * 3)), int(y + rng.normal(0, radius * 3)))
            cv2.line(image, (int(x), int(y)), end, colour, max(1, int(radius / 12)), cv2.LINE_AA)
        elif kind < 0.65:
            text = random_text(rng, 2, 16)
            write(image, text, x, y, max(5.0, radius / 2), colour, int(FONTS[rng.integers(len(FONTS))]))
        else:
            count_corners = int(rng.integers(3, 8))
            turns = np.sort(rng.uniform(0, 2 * np.pi, count_corners))
            reach = radius * rng.uniform(0.6, 1.3, count_corners)
            points = np.stack([x + np.cos(turns) * reach, y + np.sin(turns) * reach], axis=1)
            cv2.fillPoly(image, [points.astype(np.int32)], colour, cv2.LINE_AA)


def _patch(rng: np.random.Generator, image: NDArray[np.uint8], x: float, y: float, radius: float) -> None:
    """An upright rectangle with shading, a pattern or text on it."""
    wide, high = (max(6, int(2 * radius * each)) for each in rng.uniform(0.4, 1.2, 2))
    left, top = int(x - wide / 2), int(y - high / 2)
    start = random_colour(rng, 0, 1, vivid=bool(rng.random() < 0.5))
    kind = rng.random()
    if kind < 0.4:
        mix = np.broadcast_to(np.linspace(0, 1, wide, dtype=np.float32), (high, wide))
        end = np.clip(start + rng.normal(0, 0.25), 0, 1)
    else:
        drawn = look_alike(rng, wide, high) if kind < 0.7 else text_block(rng, wide, high)
        mix = drawn.astype(np.float32) / 255
        end = np.clip(start + rng.normal(0, 0.5, 3), 0, 1)
    x1, y1, x2, y2 = max(0, left), max(0, top), min(len(image), left + wide), min(len(image), top + high)
    if x1 < x2 and y1 < y2:
        image[y1:y2, x1:x2] = _mixed(mix[y1 - top : y2 - top, x1 - left : x2 - left], start, end)
