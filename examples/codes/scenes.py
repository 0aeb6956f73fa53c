"""Whole pictures: sheets with and without codes, somewhere on a surface, and the exact boxes of the codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
from camera import Camera
from geometry import bounds, corners, project, shift, warp
from sheets import SHARPNESS, bend, code_sheet, look_alike_sheet, random_colour
from surfaces import surface

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geometry import Matrix
    from numpy.typing import NDArray
    from sheets import Sheet
    from world import World

Key = TypeVar("Key")

TRIES = 12  # to find a free place
LEAST_SIDE_PX = 14  # longest side of a code that is worth a box
SHARP_ENOUGH = 0.75  # sheets that are shrunk further than this are averaged first
LEAST_CONTRAST = 9  # standard deviation of grey in [0, 255]: below it nobody sees a code


@dataclass(frozen=True)
class Code:
    """A code in a picture: its class and x1, y1, x2, y2 in px of the picture."""

    class_name: str
    box: tuple[float, float, float, float]


def draw_picture(seed: int, number: int, world: World) -> tuple[NDArray[np.uint8], list[Code]]:
    """Return picture `number` of a seed, BGR uint8, and its codes; the same two numbers give the same picture."""
    for attempt in range(100):
        rng = np.random.default_rng([seed, number, attempt])
        image, codes = _draw(rng, world)
        if all(_is_visible(image, code) for code in codes):
            return image, codes
    raise ValueError(f"picture {number} of seed {seed}: this world has no codes that can be seen")


def _draw(rng: np.random.Generator, world: World) -> tuple[NDArray[np.uint8], list[Code]]:
    is_empty = rng.random() < world.empty
    image = surface(rng, world.side, is_busy=bool(rng.random() < world.busy))
    codes: list[Code] = []
    finest_px = 4.0
    for _ in range(rng.poisson(world.look_alikes * (2 if is_empty else 1))):
        size = float(np.exp(rng.uniform(np.log(0.05), np.log(0.7)))) * world.side
        _place(rng, image, look_alike_sheet(rng, size), codes, world)
    if not is_empty:
        framing = world.framings[_weighted(rng, {place: each.share for place, each in enumerate(world.framings)})]
        wanted = int(rng.integers(1, framing.most + 1))
        side = float(np.exp(rng.uniform(np.log(framing.smallest), np.log(framing.largest)))) * world.side
        while wanted > 0:
            count = int(rng.integers(1, min(wanted, 3) + 1)) if rng.random() < 0.4 else 1
            names = [_weighted(rng, world.classes) for _ in range(count)]
            size = side * rng.uniform(0.7, 1.15) / count**0.7
            sheet = code_sheet(rng, names, size, _weighted(rng, world.materials))
            scale = _place(rng, image, sheet, codes, world)
            finest_px = min(finest_px, sheet.module_px * scale) if scale else finest_px
            wanted -= count
    if codes and rng.random() < world.occluded:
        _occlude(rng, image, codes)
    return Camera(rng, world.roughness).photograph(image, finest_px), codes


def _weighted(rng: np.random.Generator, weights: Mapping[Key, float]) -> Key:
    shares = np.array(list(weights.values()), float)
    return list(weights)[rng.choice(len(shares), p=shares / shares.sum())]


def _place(rng: np.random.Generator, image: NDArray[np.uint8], sheet: Sheet, codes: list[Code], world: World) -> float:
    """Put a sheet where it hides no code and all of its own are in view; return px of the picture for one of the sheet.

    That is 0 where no such place was found; nothing is drawn then.
    """
    if rng.random() < world.bent:
        sheet = bend(rng, sheet)
    high, wide = sheet.cover.shape
    side, scale = len(image), 1 / SHARPNESS
    outlines = [outline for _, outline in sheet.codes] or [corners(0, 0, wide, high)]
    for _ in range(TRIES):
        pose = _pose(rng, wide, high, scale, world.tilt_deg)
        reach = bounds(np.concatenate([project(outline, pose) for outline in outlines]))
        size = reach[2:] - reach[:2]
        if size.max() > side:
            scale *= 0.95 * side / float(size.max())
            continue
        x, y = rng.uniform(0, side - size) - reach[:2]
        matrix = shift(x, y) @ pose
        hidden = np.clip(bounds(project(corners(0, 0, wide, high), matrix)), 0, side)
        boxes = [bounds(project(outline, matrix)) for _, outline in sheet.codes]
        if any(_overlap(hidden, code.box) for code in codes) or any(_longest(box) < LEAST_SIDE_PX for box in boxes):
            continue
        _paste(rng, image, sheet, matrix, hidden, scale)
        codes += [Code(name, tuple(box.tolist())) for (name, _), box in zip(sheet.codes, boxes, strict=True)]
        return scale
    return 0.0


def _pose(rng: np.random.Generator, wide: int, high: int, scale: float, tilt_deg: float) -> Matrix:
    """Where a camera sees a sheet whose middle is at (0, 0): turned in its plane, and tilted about two axes."""
    chance = rng.random()
    if chance < 0.6:
        turn = rng.normal(0, 8)
    elif chance < 0.8:
        turn = 90 * rng.integers(1, 4) + rng.normal(0, 6)
    else:
        turn = rng.uniform(0, 360)
    flat = corners(-wide / 2, -high / 2, wide / 2, high / 2) * scale
    about_x, about_y = np.clip(np.deg2rad(rng.normal(0, tilt_deg, 2)), -0.9, 0.9)
    distance = rng.uniform(1.3, 4) * max(wide, high) * scale
    depth = flat[:, 0] * np.sin(about_y) + flat[:, 1] * np.sin(about_x)
    seen = flat * [np.cos(about_y), np.cos(about_x)] * (distance / (distance + depth))[:, None]
    cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    seen = seen @ np.array([[cos, sin], [-sin, cos]])
    return cv2.getPerspectiveTransform(corners(0, 0, wide, high), seen.astype(np.float32))


def _paste(
    rng: np.random.Generator,
    image: NDArray[np.uint8],
    sheet: Sheet,
    matrix: Matrix,
    hidden: NDArray[np.float32],
    scale: float,
) -> None:
    """Draw a sheet over what is there, `hidden` being the bounds of it all."""
    x1, y1 = (int(each) for each in np.floor(hidden[:2]))
    x2, y2 = (int(each) for each in np.ceil(hidden[2:]))
    pixels, cover = sheet.pixels, sheet.cover
    if scale * SHARPNESS < SHARP_ENOUGH:  # a warp looks at four pixels only
        factor = scale * SHARPNESS
        high, wide = cover.shape
        pixels = np.asarray(cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
        cover = np.asarray(cv2.resize(cover, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
        matrix = matrix @ np.diag([wide / cover.shape[1], high / cover.shape[0], 1])
    there = shift(-x1, -y1) @ matrix
    colour = warp(pixels, there, x2 - x1, y2 - y1, cv2.BORDER_REPLICATE).astype(np.float32)
    over = warp(cover, there, x2 - x1, y2 - y1).astype(np.float32)[..., None] / 255
    behind = image[y1:y2, x1:x2].astype(np.float32)
    if rng.random() < 0.25:
        behind *= 1 - 0.5 * cv2.GaussianBlur(over, (0, 0), rng.uniform(2, 8))[..., None]
    image[y1:y2, x1:x2] = behind + (colour - behind) * over


def _occlude(rng: np.random.Generator, image: NDArray[np.uint8], codes: list[Code]) -> None:
    """Lay something on a corner or an edge of a code, over at most about a fifth of it: a finger, a cable, tape."""
    x1, y1, x2, y2 = codes[rng.integers(len(codes))].box
    wide, high = x2 - x1, y2 - y1
    colour = [float(each) for each in random_colour(rng, 0, 1, vivid=bool(rng.random() < 0.5)) * 255]
    x, y = (
        (x1 + wide * rng.integers(2), y1 + high * rng.uniform())
        if rng.random() < 0.5
        else (x1 + wide * rng.uniform(), y1 + high * rng.integers(2))
    )
    if rng.random() < 0.6:
        axes = (max(1, int(wide * rng.uniform(0.1, 0.3))), max(1, int(high * rng.uniform(0.1, 0.3))))
        cv2.ellipse(image, (int(x), int(y)), axes, 0, 0, 360, colour, -1, cv2.LINE_AA)
    else:
        end = (int(x + rng.normal(0, wide)), int(y + rng.normal(0, high)))
        thick = max(1, int(min(wide, high) * rng.uniform(0.02, 0.1)))
        cv2.line(image, (int(x), int(y)), end, colour, thick, cv2.LINE_AA)


def _is_visible(image: NDArray[np.uint8], code: Code) -> bool:
    x1, y1, x2, y2 = (int(edge) for edge in code.box)
    grey = cv2.cvtColor(image[y1 : y2 + 1, x1 : x2 + 1], cv2.COLOR_BGR2GRAY)
    return float(grey.std()) > LEAST_CONTRAST


def _overlap(one: NDArray[np.float32], other: tuple[float, ...]) -> bool:
    return bool(min(one[2], other[2]) > max(one[0], other[0]) and min(one[3], other[3]) > max(one[1], other[1]))


def _longest(box: NDArray[np.float32]) -> float:
    return float((box[2:] - box[:2]).max())
