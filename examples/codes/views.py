"""What a network is shown while it learns: random views of drawn pictures, so that each picture serves many times."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from geometry import shift, warp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

LEAST_SIDE_PX = 11  # longest side of a code in a view: nobody can tell the class of a smaller one
LEAST_VISIBLE = 0.6  # part of a code that must be in view; less of it is painted over
CODE_IN_VIEW = 0.9  # part of the windows that are chosen so that they show a code
CLOSE_UP = 0.25  # part of the views in which a code fills much of the view, as in small photos that are taken of codes
CLOSE_UP_FILLS = (0.3, 0.95)  # part of the side that it fills
LARGEST_ZOOM = 4.5  # of a close-up, against a drawn picture that fills the view: the codes of others are too coarse
SHARP_ENOUGH = 0.75  # a view that is shrunk further than this is averaged first: a warp looks at four pixels only
GREY = 114  # of the letterbox


@dataclass(frozen=True)
class Sample:
    """A picture file and its codes: class ids (n,), boxes float32 (n, 4) as x1, y1, x2, y2 in px of the picture."""

    path: Path
    class_ids: NDArray[np.int64]
    boxes: NDArray[np.float32]


def read_samples(folder: Path) -> list[Sample]:
    """Return the pictures of all complete parts in a folder that draw_pictures.py wrote."""
    samples = []
    for file in sorted(folder.glob("part-*/annotations.json")):
        if file.parent.suffix:  # still being drawn
            continue
        content = json.loads(file.read_text(encoding="utf-8"))
        codes: dict[int, list[Any]] = {image["id"]: [] for image in content["images"]}
        for each in content["annotations"]:
            x, y, width, height = each["bbox"]
            codes[each["image_id"]].append((each["category_id"] - 1, x, y, x + width, y + height))
        for image in content["images"]:
            rows = np.array(codes[image["id"]], np.float32).reshape(-1, 5)
            path = file.parent / "images" / image["file_name"]
            samples.append(Sample(path, rows[:, 0].astype(np.int64), rows[:, 1:]))
    return samples


def read_batch(
    samples: Sequence[Sample], side: int, seeds: Sequence[Sequence[int]]
) -> list[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Return one view per seed, each of a sample that the seed chooses: see `view`."""
    views = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        sample = samples[rng.integers(len(samples))]
        image = cv2.imread(str(sample.path), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise OSError(f"cannot read {sample.path}")
        views.append(view(rng, np.asarray(image, np.uint8), sample.class_ids, sample.boxes, side))
    return views


def view(
    rng: np.random.Generator,
    image: NDArray[np.uint8],
    class_ids: NDArray[np.int64],
    boxes: NDArray[np.float32],
    side: int,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return a random window of a square picture: mirrored, turned by quarters, zoomed, in other colours.

    Args:
        rng: Where chance comes from.
        image: uint8 [drawn, drawn, 3].
        class_ids: Of the codes, (n,).
        boxes: Theirs, (n, 4).
        side: Width and height of the view in px.

    Returns:
        uint8 [side, side, 3], in the order of colours of `image` or another one, and float32 (m, 5): class id and box
        as parts of the side, x1, y1, x2, y2.
    """
    drawn = len(image)
    zoom, shown_code = _aim(rng, (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) / drawn, side)
    zoom *= side / drawn
    matrix = _dihedral(rng, drawn)
    matrix = np.diag([zoom, zoom, 1]) @ matrix
    placed = _moved(boxes, matrix)
    goal = np.empty(0, np.float32) if shown_code is None else placed[shown_code]
    start = np.array([_start(rng, goal[axis::2], zoom * drawn, side) for axis in range(2)], np.float32)
    placed += np.tile(start, 2)
    matrix = shift(*start) @ matrix
    if zoom < SHARP_ENOUGH:
        image = np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8)
        matrix = matrix @ np.diag([drawn / len(image), drawn / len(image), 1])
    shown = warp(image, matrix, side, side, fill=GREY)
    inside = np.clip(placed, 0, side)
    visible = _areas(inside) / np.maximum(_areas(placed), 1e-6)
    for x1, y1, x2, y2 in inside[(visible < LEAST_VISIBLE) & (visible > 0)].astype(int):
        shown[y1 : y2 + 1, x1 : x2 + 1] = GREY
    kept = visible >= LEAST_VISIBLE
    targets = np.column_stack([class_ids[kept], inside[kept] / side]).astype(np.float32)
    return _recoloured(rng, np.asarray(shown, np.uint8)), targets


def _aim(rng: np.random.Generator, sizes: NDArray[np.float32], side: int) -> tuple[float, int | None]:
    """How many views wide a picture is, and which code is in view, if one must be; sizes are parts of a picture."""
    fills = rng.uniform(*CLOSE_UP_FILLS)
    fit = np.flatnonzero(sizes * LARGEST_ZOOM >= fills)
    if len(fit) and rng.random() < CLOSE_UP:
        chosen = int(rng.choice(fit))
        return float(fills / sizes[chosen]), chosen
    zoom = float(np.exp(rng.uniform(-0.3, 0.35)))
    if len(sizes):
        zoom = max(zoom, min(LEAST_SIDE_PX / side / float(sizes.min()), 2.5))
    chosen = int(rng.integers(len(sizes))) if len(sizes) and rng.random() < CODE_IN_VIEW else None
    return zoom, chosen


def _dihedral(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    """One of the eight ways to lay a square picture onto itself; upright ones are the most frequent."""
    turns = int(rng.choice([0, 0, 0, 1, 2, 3]))
    matrix = np.diag([-1.0 if rng.random() < 0.5 else 1.0, 1.0, 1.0])
    matrix = np.linalg.matrix_power(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), turns) @ matrix
    matrix[:2, 2] = side * (matrix[:2, :2].sum(axis=1) < 0)  # back into view
    return matrix


def _moved(boxes: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Boxes after a map that keeps them upright."""
    ends = boxes.reshape(-1, 2, 2) @ matrix[:2, :2].T + matrix[:2, 2]
    return np.concatenate([ends.min(axis=1), ends.max(axis=1)], axis=1).astype(np.float32)


def _start(rng: np.random.Generator, goal: NDArray[np.float32], width: float, side: int) -> float:
    """Where a picture starts that is `width` px wide, along one axis: so that what there is of it fills the view.

    A `goal`, first and last px of it, is in view where it fits.
    """
    low, high = sorted((side - width, 0.0))
    if len(goal) and width > side:
        low, high = sorted(np.clip([-goal[0], side - goal[1]], low, high))
    return float(rng.uniform(low, high))


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), np.float32)


def _recoloured(rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    chance = rng.random()
    if chance < 0.12:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    elif chance < 0.35:
        image = image[..., rng.permutation(3)]
    elif chance < 0.38:
        image = 255 - image
    if rng.random() < 0.5:
        return np.asarray(cv2.convertScaleAbs(image, alpha=rng.uniform(0.7, 1.25), beta=rng.uniform(-25, 25)), np.uint8)
    return np.ascontiguousarray(image)
