"""Patterns without a code: smooth noise for surfaces, and regular ones that a detector may take for codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import wild
from symbols import UPPER, random_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

FONTS = tuple(getattr(cv2, name) for name in sorted(dir(cv2)) if name.startswith("FONT_HERSHEY_"))


def clouds(
    rng: np.random.Generator, width: int, height: int, across: int, down: int, octaves: int = 4, gain: float = 0.55
) -> NDArray[np.float32]:
    """Return smooth noise, float32 [height, width] in 0 to 1, with `across` x `down` blobs and finer ones on top."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        grid = rng.random((min(down << octave, height), min(across << octave, width)), dtype=np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(gain**octave)
    return np.asarray((total - total.min()) / np.ptp(total), np.float32)


def look_alike(rng: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    """Return something that looks a little like a code and is none, uint8 [height, width]."""
    pattern = np.ascontiguousarray(_PATTERNS[rng.integers(len(_PATTERNS))](rng, width, height), np.float32)
    low, high = float(pattern.min()), float(pattern.max())
    grey = ((pattern - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
    return 255 - grey if rng.random() < 0.3 else grey


def write(
    image: NDArray[np.uint8],
    text: str,
    x: float,
    baseline: float,
    height: float,
    colour: float | Sequence[float],
    font: int,
) -> None:
    """Write one line with capitals `height` pixels high."""
    scale = height / 21  # the height of OpenCV's capitals at scale 1
    thickness = max(1, round(scale * 1.6))
    start = (round(x), round(baseline))
    cv2.putText(image, text, start, font, scale, colour, thickness, cv2.LINE_AA)


def _period(rng: np.random.Generator, width: int, height: int, shortest: float = 3) -> float:
    """Pixels after which a pattern repeats, log-uniform from fine to coarse."""
    return float(np.exp(rng.uniform(np.log(shortest), np.log(max(shortest + 1, min(width, height) / 5)))))


def _grid(width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return columns, rows


def _stripes(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    """Equal stripes, soft or sharp, straight or wavy: cloth, blinds, radiators, zebras."""
    columns, rows = _grid(width, height)
    period = _period(rng, width, height)
    turn = rng.choice([0, 0, 0.5 * np.pi, rng.uniform(0, np.pi)])
    phase = (np.cos(turn) * columns + np.sin(turn) * rows) / period
    if rng.random() < 0.4:
        phase = phase + clouds(rng, width, height, 2, 2, 3) * rng.uniform(0.5, 4)
    wave = np.sin(2 * np.pi * phase)
    return wave if rng.random() < 0.4 else wave > rng.uniform(-0.6, 0.6)


def _bands(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    """Bands of uneven width in many tones: shelves, planks, pipes, plaids."""
    count = int(rng.integers(4, 40))
    edges = np.cumsum(rng.uniform(0.3, 1, count))
    place = np.searchsorted(edges / edges[-1], np.linspace(0, 1, width, endpoint=False), side="right")
    bands = np.repeat(rng.random(count)[place][None], height, axis=0)
    return bands + 0.3 * rng.random((height, 1)) * (rng.random() < 0.3)


def _books(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    """Spines of books or binders side by side, each with its own height, tone, stripes and title."""
    shelf = np.full((height, width), rng.integers(0, 90), np.uint8)
    left, usual = 0, max(4.0, width / rng.uniform(4, 30))
    while left < width:
        wide = max(3, int(usual * rng.uniform(0.5, 1.7)))
        spine = np.full((wide, height), rng.integers(30, 255), np.uint8)  # lying; turned when it is put on the shelf
        ink = int(rng.choice([0, 255]))
        for _ in range(rng.integers(4)):
            place, thick = rng.integers(height), int(rng.integers(1, 2 + height // 12))
            spine[:, place : place + thick] = rng.integers(256)
        if wide > 7 and rng.random() < 0.8:
            title = random_text(rng, 4, 24)
            write(spine, title, height * rng.uniform(0.05, 0.4), wide * 0.75, wide * 0.5, ink, _font(rng))
        spine[0], spine[-1] = 20, 40  # the gap
        top = int(height * rng.uniform(0, 0.25))
        part = cv2.rotate(spine, cv2.ROTATE_90_CLOCKWISE)[: height - top, : width - left]
        shelf[top:, left : left + wide] = part
        left += wide
    return shelf


def _weave(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    columns, rows = _grid(width, height)
    period = min(_period(rng, width, height), 24)
    over = (columns // period + rows // period) % 2
    threads = np.where(over > 0, np.sin(columns * 2 * np.pi / period), np.sin(rows * 2 * np.pi / period))
    return threads + over * rng.uniform(0, 2)


def _bricks(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    columns, rows = _grid(width, height)
    high = _period(rng, width, height, 8)
    wide = high * rng.uniform(1, 3)
    gap = rng.uniform(1, max(1.5, high * 0.12))
    shifted = columns + (rows // high % 2) * wide / 2
    return np.where((rows % high < gap) | (shifted % wide < gap), 1.0, clouds(rng, width, height, 8, 8) * 0.7)


def _checks(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    columns, rows = _grid(width, height)
    period = _period(rng, width, height)
    return (columns // period + rows // (period * rng.choice([0.5, 1, 1, 2]))) % 2


def _blocks(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    """Random cells in several tones: mosaics, pixel art. In two tones they would be codes without a finder pattern."""
    cell = _period(rng, width, height)
    cells = rng.random((max(2, int(height / cell)), max(2, int(width / cell))), np.float32)
    tones = int(rng.integers(4, 9))
    return cv2.resize(np.floor(cells * tones), (width, height), interpolation=cv2.INTER_NEAREST)


def _dots(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    """Holes, halftones, speaker grilles."""
    columns, rows = _grid(width, height)
    period = max(4.0, _period(rng, width, height))
    radius = period * (0.15 + 0.35 * clouds(rng, width, height, 2, 2, 2))
    return np.hypot(columns % period - period / 2, rows % period - period / 2) < radius


def _rings(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    """Squares in squares or circles in circles, repeated: tiles, targets, finder patterns without a code."""
    columns, rows = _grid(width, height)
    period = _period(rng, width, height, 14)
    across, down = columns % period - period / 2, rows % period - period / 2
    far = np.maximum(abs(across), abs(down)) if rng.random() < 0.6 else np.hypot(across, down)
    return np.sin(far * 2 * np.pi / (period / rng.uniform(1.5, 5))) > 0


def _ruler(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    """Ticks along an edge, with numbers: rulers, scales, combs."""
    image = np.full((height, width), 255, np.uint8)
    step = _period(rng, width, height, 4)
    for tick in range(int(width / step) + 1):
        long = 0.6 if tick % 10 == 0 else 0.45 if tick % 5 == 0 else 0.3
        x = int(tick * step)
        image[: int(height * long), x : x + max(1, int(step * 0.3))] = 0
        if tick % 10 == 0:
            write(image, str(tick // 10), x, height * 0.9, max(6.0, height * 0.18), 0, cv2.FONT_HERSHEY_SIMPLEX)
    return image


def _table(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    """Lines that cross: tables, graph paper, fences, crosswords."""
    image = np.full((height, width), 255, np.uint8)
    across, down = int(rng.integers(2, 26)), int(rng.integers(2, 26))
    if rng.random() < 0.4:
        filled = (rng.random((down, across)) > 0.7).astype(np.uint8)
        image -= cv2.resize(filled * 255, (width, height), interpolation=cv2.INTER_NEAREST)
    thick = int(rng.integers(1, 4))
    for column in range(across + 1):
        cv2.line(image, (column * width // across, 0), (column * width // across, height), 0, thick)
    for row in range(down + 1):
        cv2.line(image, (0, row * height // down), (width, row * height // down), 0, thick)
    return image


def _keys(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    """Keyboards, app icons, window fronts: rounded cells with something in each."""
    image = np.full((height, width), 0, np.uint8)
    cell = _period(rng, width, height, 14)
    gap, font = cell * rng.uniform(0.08, 0.25), _font(rng)
    for row in range(int(height / cell) + 1):
        left = -cell * rng.random()
        while left < width:
            wide = cell * rng.choice([1, 1, 1, 1.5])
            corner = (int(left + gap), int(row * cell + gap))
            cv2.rectangle(image, corner, (int(left + wide), int((row + 1) * cell)), int(rng.integers(120, 256)), -1)
            letter = UPPER[rng.integers(len(UPPER))]
            write(image, letter, left + wide * 0.35, row * cell + cell * 0.75, cell * 0.4, 20, font)
            left += wide
    return image


def _page(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    """Lines of text, from fine print to bold and condensed headlines."""
    squeeze = rng.choice([1, 1, 1.6, 2.4])  # condensed letters are nearly bars
    image = np.full((height, int(width * squeeze)), 255, np.uint8)
    font, size = _font(rng), float(np.exp(rng.uniform(np.log(6), np.log(max(8, height / 3)))))
    baseline = size * 1.3
    while baseline < height:
        letters = UPPER if squeeze > 1 else f"{UPPER}{UPPER.lower()}  "
        text = random_text(rng, 3, max(4, int(width * squeeze / size)), letters)
        write(image, text, size * rng.choice([0.3, 0.3, 2]), baseline, size, 0, font)
        if squeeze > 1 or rng.random() < 0.2:
            image = cv2.erode(image, np.ones((1, 1 + round(size / 8)), np.uint8))
        baseline += size * rng.uniform(1.4, 2)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _logo(rng: np.random.Generator, width: int, height: int) -> NDArray[Any]:
    """A few bold shapes on each other, as signs and logos have."""
    image = np.full((height, width), 255, np.uint8)
    middle, reach = (width // 2, height // 2), min(width, height) * 0.48
    for part in range(rng.integers(2, 6)):
        size = reach * (1 - part / 6) * rng.uniform(0.6, 1)
        tone = 0 if part % 2 == 0 else 255
        match rng.integers(4):
            case 0:
                cv2.circle(image, middle, int(size), tone, -1, cv2.LINE_AA)
            case 1:
                axes, turn = (int(size), int(size / 2)), rng.uniform(0, 360)
                cv2.ellipse(image, middle, axes, turn, 0, 360, tone, -1, cv2.LINE_AA)
            case 2:
                turns = rng.uniform(0, 2 * np.pi) + np.arange(rng.integers(3, 7)) * 2 * np.pi / 5
                points = np.stack([np.cos(turns), np.sin(turns)], 1) * size + middle
                cv2.fillPoly(image, [points.astype(np.int32)], tone, cv2.LINE_AA)
            case _:
                x1, y1, x2, y2 = (edge + sign * int(size * 0.8) for sign in (-1, 1) for edge in middle)
                cv2.rectangle(image, (x1, y1), (x2, y2), tone, -1)
    return image


def _font(rng: np.random.Generator) -> int:
    return int(FONTS[rng.integers(len(FONTS))])


_PATTERNS: tuple[Callable[[np.random.Generator, int, int], NDArray[Any]], ...] = (
    *2 * (_stripes, _books, _page),
    _bands,
    _weave,
    _bricks,
    _checks,
    _blocks,
    _dots,
    _rings,
    _ruler,
    _table,
    _keys,
    _logo,
    *2 * (wild.leaves, wild.windows),
    wild.twigs,
    wild.girders,
    wild.fur,
    wild.strokes,
)
