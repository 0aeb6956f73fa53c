"""Show many pictures with their boxes at once: look at what a detector is to learn before it does.

python examples/codes/contact_sheet.py pictures/train/part-000/annotations.json --out sheet.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLOURS = ((60, 60, 230), (40, 160, 240), (70, 190, 70), (220, 150, 40), (200, 70, 190))  # BGR, by category


def sheet(annotations: Path, first: int, across: int, down: int, side: int) -> NDArray[np.uint8]:
    """Return across x down pictures, from number `first` on, each at most `side` px wide and high."""
    content = json.loads(annotations.read_text(encoding="utf-8"))
    places = {each["id"]: number for number, each in enumerate(content["categories"])}
    made = np.full((down * side, across * side, 3), 255, np.uint8)
    for number, image in enumerate(content["images"][first : first + across * down]):
        picture: Any = cv2.imread(str(annotations.parent / "images" / image["file_name"]))
        scale = (side - 4) / max(picture.shape[:2])
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for each in content["annotations"]:
            if each["image_id"] == image["id"]:
                x, y, wide, high = (int(edge * scale) for edge in each["bbox"])
                colour = COLOURS[places[each["category_id"]] % len(COLOURS)]
                cv2.rectangle(picture, (x, y), (x + wide, y + high), colour, 2)
        top, left = number // across * side, number % across * side
        made[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return made


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Show many pictures with their boxes.")
    parser.add_argument("annotations", type=Path, help="in COCO's format, with the pictures in images beside it")
    parser.add_argument("--out", type=Path, required=True, help="PNG or JPEG file")
    parser.add_argument("--first", type=int, default=0, help="number of the first picture")
    parser.add_argument("--across", type=int, default=6)
    parser.add_argument("--down", type=int, default=4)
    parser.add_argument("--side", type=int, default=320, help="of a picture, px")
    options = parser.parse_args()
    image = sheet(options.annotations, options.first, options.across, options.down, options.side)
    if not cv2.imwrite(str(options.out), image):
        raise SystemExit(f"cannot write {options.out}")


if __name__ == "__main__":
    main()
