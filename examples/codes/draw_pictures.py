"""Draw pictures of codes to train on, in parts: folders of 1,000 pictures with annotations in COCO's format.

A part appears when it is complete, and one that is there is not drawn again, so this can be stopped and started at any
time, and a training can begin with the first part. The same seed gives the same pictures.

    python examples/codes/draw_pictures.py --out pictures/train --seed 1 --parts 20
    python examples/codes/draw_pictures.py --out pictures/validation --seed 2 --parts 1 --pictures 400
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scenes import draw_picture
from symbols import CLASS_NAMES
from world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scenes import Code

    Worlds = Sequence[tuple[World, float]]

ANNOTATIONS = "annotations.json"
JPEG_QUALITIES = (35, 96)  # uniform between these: what is lost in files is part of what there is to learn


def draw_parts(out: Path, seed: int, parts: int, pictures: int, worlds: Worlds, workers: int) -> None:
    """Draw the parts that are not there yet.

    Args:
        out: Folder of the parts.
        seed: Other seeds give other pictures.
        parts: How many there are to be.
        pictures: In each part.
        worlds: What may be in the pictures, all of one size, each with its share.
        workers: Processes that draw.
    """
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for part in range(parts):
            folder = out / f"part-{part:03d}"
            if folder.exists():
                continue
            unfinished = folder.with_name(folder.name + ".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            (unfinished / "images").mkdir(parents=True)
            draw = partial(_draw_file, unfinished / "images", seed, worlds)
            numbers = range(part * pictures, (part + 1) * pictures)
            drawn = []
            for picture in pool.imap(draw, numbers, chunksize=8):
                drawn.append(picture)
                print(f"\r{folder}: {len(drawn)} of {pictures} pictures", end="", flush=True)
            print()
            content = _coco(drawn, worlds[0][0].side)
            (unfinished / ANNOTATIONS).write_text(json.dumps(content) + "\n", encoding="utf-8")
            unfinished.rename(folder)


def _draw_file(folder: Path, seed: int, worlds: Worlds, number: int) -> tuple[str, list[Code]]:
    """Draw a picture into a file; return its name and its codes."""
    cv2.setNumThreads(1)
    # Chance of its own: that of draw_picture is made of the same two numbers.
    rng = np.random.default_rng(np.random.SeedSequence([seed, number], spawn_key=(1,)))
    shares = np.array([share for _, share in worlds])
    world = worlds[rng.choice(len(worlds), p=shares / shares.sum())][0]
    image, codes = draw_picture(seed, number, world)
    name = f"{number:07d}.jpg"
    if not cv2.imwrite(str(folder / name), image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*JPEG_QUALITIES))]):
        raise OSError(f"cannot write {folder / name}")
    return name, codes


def _coco(drawn: Sequence[tuple[str, list[Code]]], side: int) -> dict[str, Any]:
    """Return annotations of pictures that are `side` x `side` px."""
    annotations: list[dict[str, Any]] = []
    for image_id, (_, codes) in enumerate(drawn, 1):
        for code in codes:
            x1, y1, x2, y2 = code.box
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, "iscrowd": 0})
            annotations[-1]["category_id"] = CLASS_NAMES.index(code.class_name) + 1
            annotations[-1]["bbox"] = [round(each, 2) for each in (x1, y1, x2 - x1, y2 - y1)]
            annotations[-1]["area"] = round((x2 - x1) * (y2 - y1), 2)
    return {
        "images": [
            {"id": image_id, "file_name": name, "width": side, "height": side}
            for image_id, (name, _) in enumerate(drawn, 1)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASS_NAMES, 1)],
    }


def main() -> None:
    """Draw the parts that are not there yet."""
    parser = argparse.ArgumentParser(description="Draw pictures of machine-readable codes, with their boxes.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the parts")
    parser.add_argument("--seed", type=int, required=True, help="other seeds give other pictures")
    parser.add_argument("--parts", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=1000, help="in each part; one takes about 56 KB")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    options = parser.parse_args()
    worlds = ((World(), 1.0),)
    draw_parts(options.out, options.seed, options.parts, options.pictures, worlds, options.workers)


if __name__ == "__main__":
    main()
