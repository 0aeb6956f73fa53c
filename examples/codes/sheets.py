"""Flat and bent things that carry codes: labels, parts, screens; and others that only look like it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from geometry import corners
from prints import print_code, text_block
from textures import clouds, look_alike

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from prints import Print

SHARPNESS = 1.3  # pixels of a sheet for one of the picture
MATERIALS = ("paper", "coloured", "inverted", "faint", "engraved", "screen", "bare")


@dataclass(frozen=True)
class Sheet:
    """Something with a surface.

    Attributes:
        pixels: BGR, uint8 [height, width, 3].
        cover: How much it hides of what is behind, uint8 [height, width].
        codes: Class name and outline of each code, the outline float32 [n, 2] in px of `pixels`.
        module_px: The finest module of its codes.
    """

    pixels: NDArray[np.uint8]
    cover: NDArray[np.uint8]
    codes: tuple[tuple[str, NDArray[np.float32]], ...] = ()
    module_px: float = float("inf")


def code_sheet(rng: np.random.Generator, class_names: Sequence[str], side_px: float, material: str) -> Sheet:
    """Return a sheet with these codes, the first of which is `side_px` px of the picture long."""
    prints = []
    for number, class_name in enumerate(class_names):
        factor = 1 if number == 0 else rng.uniform(0.6, 1.2)
        made = print_code(rng, class_name, max(14.0, side_px * factor) * SHARPNESS, SHARPNESS)
        prints.append(made.turned() if rng.random() < 0.15 else made)
    ink, codes = _layout(rng, prints)
    return Sheet(*_coloured(rng, ink, material), codes, min(each.module_px for each in prints))


def look_alike_sheet(rng: np.random.Generator, side_px: float) -> Sheet:
    """Return a sheet whose longest side is `side_px` px of the picture, with a pattern or text and without a code."""
    long = max(12, int(side_px * SHARPNESS))
    short = max(8, int(long * rng.uniform(0.25, 1)))
    size = (long, short) if rng.random() < 0.6 else (short, long)
    pattern = look_alike(rng, *size)
    margin = int(short * rng.uniform(0, 0.3)) if rng.random() < 0.5 else 0
    ink = cv2.copyMakeBorder(255 - pattern, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
    material = ("paper", "paper", "coloured", "faint", "inverted")[rng.integers(5)]
    return Sheet(*_coloured(rng, np.asarray(ink, np.uint8), material))


def bend(rng: np.random.Generator, sheet: Sheet) -> Sheet:
    """Return the sheet round a can that is seen from a little above or below.

    A point at the angle a from the nearest line of a can with the radius r lies r * sin(a) aside and r * (1 - cos(a))
    behind it; what is behind is drawn smaller, and higher or lower where the can is tilted.
    """
    high, wide = sheet.cover.shape
    span = np.deg2rad(rng.uniform(50, 150))
    radius = wide / span
    distance, tilt = rng.uniform(2, 5) * max(wide, high), rng.uniform(-0.6, 0.6)
    seen_wide, deepest = 2 * radius * np.sin(span / 2), radius * (1 - np.cos(span / 2))
    above = abs(tilt) * deepest
    seen_high = high + above

    def depth(angle: NDArray[Any]) -> NDArray[Any]:
        return radius * (1 - np.cos(angle))

    def moved(points: NDArray[np.float32]) -> NDArray[np.float32]:
        angle = (points[:, 0] - wide / 2) / radius
        smaller = distance / (distance + depth(angle))
        y = seen_high / 2 + (points[:, 1] - high / 2) * smaller + (depth(angle) - deepest / 2) * tilt
        return np.stack([seen_wide / 2 + radius * np.sin(angle), y], axis=1).astype(np.float32)

    columns = np.arange(int(seen_wide), dtype=np.float32) + 0.5
    rows = np.arange(int(seen_high), dtype=np.float32)[:, None] + 0.5
    angle = np.arcsin(np.clip((columns - seen_wide / 2) / radius, -1, 1))
    smaller = distance / (distance + depth(angle))
    from_y = high / 2 + (rows - seen_high / 2 - (depth(angle) - deepest / 2) * tilt) / smaller
    from_x = np.broadcast_to(wide / 2 + radius * angle, from_y.shape)
    maps = (from_x - 0.5).astype(np.float32), (from_y - 0.5).astype(np.float32)
    pixels = cv2.remap(sheet.pixels, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    light = np.clip(np.cos(angle - rng.uniform(-0.5, 0.5)), 0.15, 1) ** rng.uniform(0, 1.2)
    pixels = (pixels * light[None, :, None]).astype(np.uint8)
    codes = tuple((name, moved(outline)) for name, outline in sheet.codes)
    cover = cv2.remap(sheet.cover, *maps, cv2.INTER_LINEAR)
    return replace(sheet, pixels=pixels, cover=np.asarray(cover, np.uint8), codes=codes)


def _layout(
    rng: np.random.Generator, prints: Sequence[Print]
) -> tuple[NDArray[np.uint8], tuple[tuple[str, NDArray[np.float32]], ...]]:
    """Lay the prints in a row or column, with text or a pattern in the margins."""
    longest = max(max(each.ink.shape) for each in prints)
    gap = int(longest * rng.uniform(0.05, 0.4))
    margins = [int(longest * rng.uniform(0, 0.5)) if rng.random() < 0.4 else 0 for _ in range(4)]
    above, below, left, right = margins
    is_column = bool(rng.random() < 0.5)
    highs, wides = [each.ink.shape[0] for each in prints], [each.ink.shape[1] for each in prints]
    gaps = gap * (len(prints) - 1)
    high, wide = (sum(highs) + gaps, max(wides)) if is_column else (max(highs), sum(wides) + gaps)
    ink = np.zeros((above + high + below, left + wide + right), np.uint8)
    for top, bottom in ((0, above), (above + high, above + high + below)):
        if bottom - top > 14 and rng.random() < 0.8:
            ink[top:bottom] = text_block(rng, ink.shape[1], bottom - top)
    if right > 16 and rng.random() < 0.4:
        ink[above + 2 : above + high - 2, left + wide + 4 : -2] = 255 - look_alike(rng, right - 6, high - 4)
    place, codes = 0, []
    for each in prints:
        part_high, part_wide = each.ink.shape
        slack = int(rng.integers(0, (wide - part_wide if is_column else high - part_high) + 1))
        x, y = (left + slack, above + place) if is_column else (left + place, above + slack)
        ink[y : y + part_high, x : x + part_wide] = each.ink
        codes.append((each.class_name, _outline(*np.add(each.box, [x, y, x, y]))))
        place += (part_high if is_column else part_wide) + gap
    if any(margins) and rng.random() < 0.3:
        cv2.rectangle(ink, (2, 2), (ink.shape[1] - 3, ink.shape[0] - 3), 255, 2)
    return ink, tuple(codes)


def _outline(x1: float, y1: float, x2: float, y2: float) -> NDArray[np.float32]:
    """Points all along a box, so that its bounds stay right when it is bent."""
    start = corners(x1, y1, x2, y2)
    parts = np.linspace(0, 1, 8, endpoint=False, dtype=np.float32)[:, None]
    return np.concatenate([a + (b - a) * parts for a, b in zip(start, np.roll(start, -1, axis=0), strict=True)])


def _coloured(
    rng: np.random.Generator, ink: NDArray[np.uint8], material: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Turn ink into a sheet of a material: pixels and cover."""
    high, wide = ink.shape
    paper, dark = _colours(rng, material)
    ramp = np.linspace(0, 1, 256)[:, None]
    table = np.clip((paper + (dark - paper) * ramp) * 255, 0, 255).astype(np.uint8)[None]
    pixels = np.asarray(cv2.LUT(cv2.merge([ink] * 3), table), np.uint8)
    if material == "bare":
        return pixels, ink
    cover = np.full((high, wide), 255, np.uint8)
    if material == "screen":
        return _screen(rng, pixels), cover
    if material == "engraved":
        pixels = _relief(rng, pixels, ink)
    elif rng.random() < 0.3:
        stains = clouds(rng, wide, high, 3, 3)[..., None] * rng.uniform(0, 0.25)
        pixels = (pixels * (1 - stains)).astype(np.uint8)
    return pixels, _worn(rng, cover) if rng.random() < 0.25 else cover


def _colours(rng: np.random.Generator, material: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the colours of paper and ink, BGR in [0, 1]."""
    paper, dark = random_colour(rng, 0.7, 1), random_colour(rng, 0, 0.22)
    match material:
        case "coloured":
            paper, dark = random_colour(rng, 0.35, 1, vivid=True), random_colour(rng, 0, 0.35, vivid=True)
            return paper, dark if abs(float((paper - dark).mean())) > 0.25 else paper * 0.35
        case "inverted":
            return dark, paper
        case "faint":
            return paper, np.clip(paper - rng.uniform(0.18, 0.4), 0, 1)
        case "engraved":
            paper = random_colour(rng, 0.25, 0.8)
            return paper, np.clip(paper + rng.choice([-1, 1]) * rng.uniform(0.12, 0.35), 0, 1)
        case "screen":
            paper, dark = random_colour(rng, 0.85, 1), random_colour(rng, 0, 0.12)
            return (dark, paper) if rng.random() < 0.15 else (paper, dark)
        case _:
            return paper, dark


def _relief(rng: np.random.Generator, pixels: NDArray[np.uint8], ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cells that are cut into metal or plastic: their edges catch the light, and the ground is brushed."""
    high, wide = ink.shape
    soft = cv2.GaussianBlur(ink, (0, 0), rng.uniform(0.5, 1.5)).astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    across, down = cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)
    relief = (np.cos(turn) * across + np.sin(turn) * down) * rng.uniform(0.03, 0.15)
    brushed = (rng.random((high, 1), np.float32) - 0.5) * rng.uniform(0, 40) + clouds(rng, wide, high, 2, 2, 2) * 30
    return np.asarray(np.clip(pixels + (relief + brushed)[..., None], 0, 255), np.uint8)


def _screen(rng: np.random.Generator, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A display: the rows of its pixels show, and it has a dark rim."""
    high, wide = pixels.shape[:2]
    lines = 1 - rng.uniform(0, 0.35) * (np.sin(np.arange(high) * 2 * np.pi / rng.uniform(2.2, 6)) > 0)
    lit = (pixels * lines[:, None, None]).astype(np.uint8)
    rim = max(1, int(min(high, wide) * rng.uniform(0, 0.02)))
    cv2.rectangle(lit, (0, 0), (wide - 1, high - 1), [int(value) for value in rng.integers(0, 50, 3)], rim)
    return np.asarray(lit, np.uint8)


def _worn(rng: np.random.Generator, cover: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scratches and holes through which one sees what is behind."""
    high, wide = cover.shape
    for _ in range(rng.integers(1, 6)):
        ends = [(int(rng.integers(wide)), int(rng.integers(high))) for _ in range(2)]
        cv2.line(cover, *ends, int(rng.integers(0, 160)), max(1, int(min(high, wide) * rng.uniform(0, 0.012))))
    return cover


def random_colour(rng: np.random.Generator, low: float, high: float, *, vivid: bool = False) -> NDArray[np.float64]:
    """Return BGR in [0, 1]: grey with a tint, or any colour where it is to be vivid."""
    if vivid:
        return rng.uniform(low, high, 3)
    return np.clip(rng.uniform(low, high) + rng.normal(0, 0.03, 3), 0, 1)
