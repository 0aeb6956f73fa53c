"""Patterns that nobody printed: leaves, twigs, windows, girders, fur. In photos, detectors take them for codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def leaves(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    """Leaves, petals and stones, few large and many small ones, light before dark or dark before light."""
    image = np.full((height, width), int(rng.integers(256)), np.uint8)
    least, most = 1.5, max(3.0, min(width, height) / rng.uniform(5, 20))
    count = int(min(4000, 2 * width * height / least**2 / rng.uniform(2, 40)))
    sizes = 1 / np.sqrt(rng.uniform(1 / most**2, 1 / least**2, count))  # density r ** -3
    narrow, spread = rng.uniform(0.15, 1), rng.uniform(30, 90)
    tones = np.clip(rng.normal(rng.uniform(60, 190), spread, count), 0, 255).astype(int)
    turns = rng.normal(rng.uniform(0, 180), rng.choice([10, 60]), count)
    places = (rng.random((count, 2)) * [width, height]).astype(int)
    for size, tone, turn, (x, y) in zip(sizes, tones, turns, places, strict=True):
        axes = (max(1, int(size)), max(1, int(size * narrow)))
        cv2.ellipse(image, (int(x), int(y)), axes, turn, 0, 360, int(tone), -1, cv2.LINE_AA)
    return image


def twigs(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    """Trees in winter: trunks that part again and again, before a sky."""
    image = np.full((height, width), 255, np.uint8)
    bend, shrink = rng.uniform(0.2, 0.7), rng.uniform(0.68, 0.82)
    for _ in range(rng.integers(1, 6)):
        tips = np.array([[rng.uniform(0, width), height * rng.uniform(0.8, 1.2), -np.pi / 2]])
        length, thick = height * rng.uniform(0.12, 0.35), max(1.0, height * rng.uniform(0.01, 0.05))
        while length > 3 and len(tips) < 600:
            tips = np.repeat(tips, 2, axis=0)
            tips[:, 2] += rng.normal(0, bend, len(tips))
            reach = length * rng.uniform(0.6, 1.2, len(tips))
            ends = tips[:, :2] + np.stack([np.cos(tips[:, 2]), np.sin(tips[:, 2])], axis=1) * reach[:, None]
            lines = np.stack([tips[:, :2], ends], axis=1).round().astype(np.int32)
            cv2.polylines(image, list(lines), False, 0, max(1, round(thick)), cv2.LINE_AA)  # noqa: FBT003 - open lines
            tips[:, :2] = ends
            length, thick = length * shrink, thick * 0.65
    return image


def windows(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    """The front of a house, a train or a rack: panes in rows, each as bright as what is behind it, with bars."""
    image = np.full((height, width), int(rng.integers(60, 256)), np.uint8)
    across, down = (int(each) for each in rng.integers(1, 14, 2))
    fills = rng.uniform(0.4, 0.93, 2)
    dark, spread, bars = rng.uniform(0, 160), rng.uniform(5, 60), rng.integers(0, 4, 2)
    frame = max(1, round(min(width / across, height / down) * rng.uniform(0.02, 0.1)))
    for row in range(down):
        for column in range(across):
            ends = (np.array([[column, row]]) + 0.5 + np.outer([-0.5, 0.5], fills)) * [width / across, height / down]
            x1, y1, x2, y2 = ends.astype(int).ravel().tolist()
            tone = int(np.clip(rng.normal(dark, spread), 0, 255))
            cv2.rectangle(image, (x1, y1), (x2, y2), tone, -1)
            for x in np.linspace(x1, x2, bars[0] + 2)[1:-1].astype(int):
                cv2.line(image, (int(x), y1), (int(x), y2), 255, frame)
            for y in np.linspace(y1, y2, bars[1] + 2)[1:-1].astype(int):
                cv2.line(image, (x1, int(y)), (x2, int(y)), 255, frame)
    return image


def girders(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    """Bridges, fences, scaffolds: posts between beams, with or without crosses."""
    image = np.full((height, width), 255, np.uint8)
    count, rows = int(rng.integers(3, 40)), int(rng.integers(1, 4))
    thick = max(1, round(width / count * rng.uniform(0.05, 0.35)))
    is_crossed = rng.random() < 0.5
    for row in range(rows):
        top, bottom = (int(height * (row + part) / rows) for part in (0.06, 0.94))
        tone = int(rng.integers(0, 130))
        for y in (top, bottom):
            cv2.line(image, (0, y), (width, y), tone, thick, cv2.LINE_AA)
        for x in np.arange(count + 1) * (width / count):
            cv2.line(image, (int(x), top), (int(x), bottom), tone, thick, cv2.LINE_AA)
            if is_crossed:
                ends = (bottom, top) if rng.random() < 0.5 else (top, bottom)
                cv2.line(image, (int(x), ends[0]), (int(x + width / count), ends[1]), tone, thick, cv2.LINE_AA)
    return image


def fur(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    """Noise of one size, soft or sharp, in all directions or mostly in one: fur, grass, gravel, knitwear, hair."""
    noise = rng.standard_normal((height, width), np.float32)
    fine = float(np.exp(rng.uniform(np.log(0.7), np.log(max(1.5, min(width, height) / 40)))))
    along = fine * rng.choice([1, 1, 3, 8])
    soft = cv2.GaussianBlur(noise, (0, 0), along, sigmaY=fine)
    image = soft - cv2.GaussianBlur(soft, (0, 0), 2 * along, sigmaY=2 * fine)
    if rng.random() < 0.5:
        image = image.T if width == height else image[::-1]
    return np.tanh(image / image.std() * rng.choice([0.5, 1, 3]))


def strokes(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    """Letters of scripts that have many strokes, in lines: signs, posters, stamps."""
    image = np.full((height, width), 255, np.uint8)
    size = int(np.clip(np.exp(rng.uniform(np.log(8), np.log(max(10, height / 2)))), 8, max(8, min(width, height))))
    thick = max(1, round(size * rng.uniform(0.04, 0.12)))
    for top in range(size // 4, height - size, int(size * rng.uniform(1.2, 1.8))):
        for left in range(size // 4, width - size, int(size * 1.15)):
            for _ in range(rng.integers(3, 11)):
                x, y = (int(each) for each in (rng.random(2) * size * 0.8))
                long = int(size * rng.uniform(0.2, 0.8))
                down, right = [(0, long), (long, 0), (long // 2, -long // 2), (long // 2, long // 2)][rng.integers(4)]
                end = (left + min(size, max(0, x + right)), top + min(size, max(0, y + down)))
                cv2.line(image, (left + x, top + y), end, 0, thick, cv2.LINE_AA)
    return image
