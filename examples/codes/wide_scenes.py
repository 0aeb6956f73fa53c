"""Make wide scenes with small codes from real pieces: codes cut out of photos, put into other photos.

    python examples/codes/wide_scenes.py --codes ../shared/data/codes --photos ../shared/data/photos --out wide

Each photo serves once for every range of sizes. Codes are as frequent in each class; their longest side is 5 to 25 % of
the width of the photo, and they are seen a little from the side. The folder has the pictures, `annotations.json` with
all of them, and one file of annotations for each range of sizes. Nothing of it is to be trained on.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from geometry import bounds, corners, project, shift, warp

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZES = (0.05, 0.08, 0.12, 0.18, 0.25)  # longest side of a code as a part of the photo's width: between two of these
MARGIN = 0.08  # around a code, as a part of its longest side
MOST_CODES = 3
JPEG_QUALITY = 90
TRIES = 20


class Pieces:
    """Codes to be cut out of photos.

    Args:
        folder: With `annotations.json` in COCO's format and `images`.
    """

    def __init__(self, folder: Path) -> None:
        content = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
        self.categories = content["categories"]
        self._files = {image["id"]: folder / "images" / image["file_name"] for image in content["images"]}
        self._by_category: dict[int, list[Any]] = defaultdict(list)
        for each in content["annotations"]:
            self._by_category[each["category_id"]].append(each)

    def choose(self, rng: np.random.Generator) -> tuple[int, NDArray[np.uint8], NDArray[np.float32]]:
        """Return category, pixels with a margin, and the box of a code in them; each category is as likely."""
        category = sorted(self._by_category)[rng.integers(len(self._by_category))]
        chosen = self._by_category[category][rng.integers(len(self._by_category[category]))]
        x, y, wide, high = chosen["bbox"]
        image = cv2.imread(str(self._files[chosen["image_id"]]))
        margin = MARGIN * max(wide, high)
        left, top = max(0, int(x - margin)), max(0, int(y - margin))
        piece = image[top : int(y + high + margin), left : int(x + wide + margin)]
        box = np.array([x - left, y - top, x + wide - left, y + high - top], np.float32)
        return category, np.asarray(piece, np.uint8), box


def paste(
    rng: np.random.Generator, photo: NDArray[np.uint8], piece: NDArray[np.uint8], box: NDArray[np.float32], side: float
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]] | None:
    """Put a piece somewhere into a photo, the code in it `side` px long.

    Returns:
        The photo, the box of the code and the bounds of the whole piece; None where it found no place.
    """
    scale = side / float((box[2:] - box[:2]).max())
    size = (max(2, round(piece.shape[1] * scale)), max(2, round(piece.shape[0] * scale)))
    small = cv2.resize(piece, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    box = box * np.tile(np.divide(size, piece.shape[1::-1]), 2).astype(np.float32)
    flat = corners(0, 0, *size)
    turn = np.deg2rad(rng.normal(0, 10))
    cos, sin = np.cos(turn), np.sin(turn)
    seen = flat + rng.uniform(-0.07, 0.07, (4, 2)).astype(np.float32) * size
    seen = (seen @ np.array([[cos, sin], [-sin, cos]])).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(flat, seen)
    placed = bounds(project(corners(*box), matrix))
    matrix = np.diag([side / float((placed[2:] - placed[:2]).max())] * 2 + [1]) @ matrix
    reach = bounds(project(flat, matrix))
    high, wide = photo.shape[:2]
    room = np.array([wide, high]) - (reach[2:] - reach[:2])
    if room.min() < 0:
        return None
    x, y = rng.uniform(0, room) - reach[:2]
    matrix = shift(x, y) @ matrix
    colour = warp(small, matrix, wide, high, cv2.BORDER_REPLICATE).astype(np.float32)
    cover = warp(np.full(small.shape[:2], 255, np.uint8), matrix, wide, high).astype(np.float32)[..., None] / 255
    mixed = np.asarray(photo + (colour - photo) * cover, np.uint8)
    return mixed, bounds(project(corners(*box), matrix)), bounds(project(flat, matrix))


def make(codes: Path, photos: Path, out: Path, seed: int, most: int | None = None) -> None:
    """Write the whole folder, with at most so many of the photos."""
    pieces = Pieces(codes)
    files = sorted(file for file in photos.iterdir() if file.suffix.lower() in {".jpg", ".jpeg", ".png"})[:most]
    (out / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    by_range: dict[str, tuple[list[Any], list[Any]]] = {}
    for place, (low, high) in enumerate(pairwise(SIZES)):
        title = f"{round(100 * low):02d}-{round(100 * high):02d}"
        first_image, first_annotation = len(images), len(annotations)
        for number, file in enumerate(files):
            rng = np.random.default_rng([seed, place, number])
            photo = np.asarray(cv2.imread(str(file)), np.uint8)
            taken: list[NDArray[np.float32]] = []
            images.append({"id": len(images) + 1, "file_name": f"{title}-{file.stem}.jpg"})
            images[-1] |= {"width": photo.shape[1], "height": photo.shape[0]}
            for _ in range(int(rng.integers(1, MOST_CODES + 1))):
                category, piece, box = pieces.choose(rng)
                side = float(np.exp(rng.uniform(np.log(low), np.log(high)))) * photo.shape[1]
                for _ in range(TRIES):
                    pasted = paste(rng, photo, piece, box, side)
                    if pasted and not any(_overlap(pasted[2], each) for each in taken):
                        photo, (x1, y1, x2, y2), reach = pasted
                        taken.append(reach)
                        annotations.append({"id": len(annotations) + 1, "image_id": len(images), "iscrowd": 0})
                        annotations[-1] |= {"category_id": category, "area": float((x2 - x1) * (y2 - y1))}
                        annotations[-1]["bbox"] = [round(float(edge), 2) for edge in (x1, y1, x2 - x1, y2 - y1)]
                        break
            name = str(out / "images" / images[-1]["file_name"])
            if not cv2.imwrite(name, photo, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
                raise OSError(f"cannot write {name}")
        by_range[title] = images[first_image:], annotations[first_annotation:]
    for title, (some, marked) in {"": (images, annotations), **by_range}.items():
        content = {"images": some, "annotations": marked, "categories": pieces.categories}
        file = out / (f"annotations-{title}.json" if title else "annotations.json")
        file.write_text(json.dumps(content) + "\n", encoding="utf-8")
        print(f"{file}: {len(some)} pictures, {len(marked)} codes")


def _overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return bool(min(one[2], other[2]) > max(one[0], other[0]) and min(one[3], other[3]) > max(one[1], other[1]))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Make wide scenes with small codes.")
    parser.add_argument("--codes", type=Path, required=True, help="folder of photos of codes, with annotations.json")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos without any code")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--most", type=int, help="photos that are used")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    make(options.codes, options.photos, options.out, options.seed, options.most)


if __name__ == "__main__":
    main()
