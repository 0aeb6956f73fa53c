"""Codes that are put into photos lie where the annotations say, and are as large as the file of annotations says."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from wide_scenes import SIZES, make

if TYPE_CHECKING:
    from pathlib import Path

RED = (0, 0, 255)  # BGR


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Red rectangles on white paper are the codes, and green photos have none."""
    codes, photos = tmp_path / "codes", tmp_path / "photos"
    (codes / "images").mkdir(parents=True)
    photos.mkdir()
    annotations = []
    for number, (wide, high) in enumerate(((200, 200), (300, 90)), 1):
        picture = np.full((300, 400, 3), 255, np.uint8)
        picture[60 : 60 + high, 50 : 50 + wide] = RED
        cv2.imwrite(str(codes / "images" / f"{number}.png"), picture)
        annotations.append({"id": number, "image_id": number, "category_id": number, "bbox": [50, 60, wide, high]})
    images = [{"id": number, "file_name": f"{number}.png"} for number in (1, 2)]
    categories = [{"id": 1, "name": "square"}, {"id": 2, "name": "oblong"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (codes / "annotations.json").write_text(json.dumps(content))
    for number in range(12):
        cv2.imwrite(str(photos / f"{number}.jpg"), np.full((480, 640, 3), (60, 160, 60), np.uint8))
    return codes, photos


def test_codes_are_where_and_as_large_as_is_said(folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "wide"

    make(*folders, out, seed=3)

    categories = set()
    for low, high in pairwise(SIZES):
        content = json.loads((out / f"annotations-{100 * low:02.0f}-{100 * high:02.0f}.json").read_text())
        assert len(content["images"]) == 12
        for image in content["images"]:
            boxes = [each for each in content["annotations"] if each["image_id"] == image["id"]]
            assert 1 <= len(boxes) <= 3
            blue, green, red = cv2.split(cv2.imread(str(out / "images" / image["file_name"])).astype(int))
            found = (red - np.maximum(green, blue) > 100).astype(np.uint8)
            count, _, stats, _ = cv2.connectedComponentsWithStats(found)
            seen = sorted(tuple(row[:4]) for row in stats[1:count] if row[4] > 20)
            assert len(seen) == len(boxes)
            for (x, y, wide, tall), each in zip(seen, sorted(boxes, key=lambda each: each["bbox"]), strict=True):
                assert [x, y, x + wide, y + tall] == pytest.approx(
                    [*each["bbox"][:2], each["bbox"][0] + each["bbox"][2], each["bbox"][1] + each["bbox"][3]], abs=2.5
                )
                assert low * 640 - 0.1 <= max(each["bbox"][2:]) <= high * 640 + 0.1
                categories.add(each["category_id"])
    assert categories == {1, 2}
    every = json.loads((out / "annotations.json").read_text())
    assert len(every["images"]) == 12 * (len(SIZES) - 1)
