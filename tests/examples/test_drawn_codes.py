"""Pictures to train on are right: boxes lie on codes that can be read, and the same numbers give the same picture."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import zxingcpp
from scenes import LEAST_SIDE_PX, draw_picture
from symbols import CLASS_NAMES, draw_symbol
from textures import look_alike
from views import Sample, read_samples, view
from world import Framing, World

from detector_grpc.vision.boxes import iou_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXAMPLE = Path(__file__).parents[2] / "examples" / "codes"
PLAIN = World(
    empty=0, framings=(Framing(1, 0.4, 0.7, 1),), materials={"paper": 1}, tilt_deg=6, bent=0, busy=0, look_alikes=0,
    occluded=0, roughness=0,
)  # fmt: skip
FORMATS = {
    "QRCode": "qr_code",
    "MicroQRCode": "qr_code",
    "DataMatrix": "data_matrix",
    "Aztec": "aztec",
    "PDF417": "pdf417",
}


def read(image: NDArray[np.uint8]) -> list[tuple[str, NDArray[np.float32]]]:
    found = []
    for barcode in zxingcpp.read_barcodes(image):
        place = barcode.position
        ends = (place.top_left, place.top_right, place.bottom_right, place.bottom_left)
        points = np.array([[each.x, each.y] for each in ends])
        name = FORMATS.get(barcode.format.name, "linear_barcode")
        found.append((name, np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float32)))
    return found


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_a_box_lies_on_a_code_of_its_class(class_name: str) -> None:
    world = replace(PLAIN, classes={class_name: 1})
    overlaps, differences = [], []
    for number in range(24):
        image, codes = draw_picture(5, number, world)
        drawn = np.array([code.box for code in codes], np.float32)
        for name, box in read(image):
            assert name == class_name
            beyond = box - drawn[0]
            differences.append(max(-beyond[:2].min(), beyond[2:].max()))
            overlaps.append(iou_matrix(box[None], drawn)[0, 0])

    assert len(overlaps) >= 8  # others are too small or too tilted for the reader
    assert np.mean(np.array(differences) < 8) > 0.9  # the reader itself is wrong about a corner now and then
    if class_name != "linear_barcode":  # of which a reader needs no more than a line through the bars
        assert np.median(overlaps) > 0.85


def test_the_same_numbers_give_the_same_picture_and_others_another() -> None:
    (one, codes), (again, codes_again), (other, _) = (draw_picture(3, number, World()) for number in (7, 7, 8))

    assert np.array_equal(one, again)
    assert codes == codes_again
    assert not np.array_equal(one, other)


def test_codes_are_in_view_and_of_all_classes_and_sizes() -> None:
    world = World()
    pictures = [draw_picture(11, number, world) for number in range(120)]
    codes = [code for _, codes in pictures for code in codes]
    boxes = np.array([code.box for code in codes])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / world.side

    assert boxes.min() >= 0
    assert boxes.max() <= world.side
    assert sides.min() * world.side >= LEAST_SIDE_PX
    assert min(Counter(code.class_name for code in codes)[name] for name in CLASS_NAMES) >= 10
    assert np.quantile(sides, 0.2) < 0.1
    assert np.quantile(sides, 0.9) > 0.4
    assert sum(not codes for _, codes in pictures) >= 5


@pytest.mark.parametrize(("width", "height"), [(640, 640), (6, 6), (200, 7), (7, 200)])
def test_look_alikes_are_as_large_as_asked_for_and_can_be_drawn_on(width: int, height: int) -> None:
    for seed in range(60):
        drawn = look_alike(np.random.default_rng(seed), width, height)

        assert drawn.shape == (height, width)
        assert drawn.dtype == np.uint8
        assert drawn.flags["C_CONTIGUOUS"]


def test_codes_never_hide_each_other() -> None:
    crowded = World(empty=0, framings=(Framing(1, 0.1, 0.3, 6),), occluded=0)
    for number in range(20):
        _, codes = draw_picture(2, number, crowded)
        boxes = np.array([code.box for code in codes], np.float32)
        overlap = iou_matrix(boxes, boxes) - np.eye(len(boxes))
        assert overlap.max(initial=0) < 0.35  # of turned sheets, the boxes may touch


def test_a_symbol_is_as_small_as_asked_for_where_its_kind_can_be() -> None:
    rng = np.random.default_rng(1)
    for class_name, most in (("qr_code", 29), ("data_matrix", 20), ("aztec", 27), ("linear_barcode", 110)):
        for _ in range(30):
            assert max(draw_symbol(rng, class_name, most).modules.shape) <= most


def marked_picture(side: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """White rectangles on black are what is to be found."""
    boxes = np.array([[100, 120, 220, 300], [400, 60, 460, 100], [300, 500, 620, 620]], np.float32)
    image = np.zeros((side, side, 3), np.uint8)
    for x1, y1, x2, y2 in boxes.astype(int):
        image[y1:y2, x1:x2] = 255
    return image, boxes


@pytest.mark.parametrize("side", [256, 640])
def test_boxes_move_with_what_is_in_a_view(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("views._recoloured", lambda _, image: image)
    image, boxes = marked_picture(640)
    seen = 0
    for number in range(40):
        shown, targets = view(np.random.default_rng(number), image, np.array([0, 1, 2]), boxes, side)
        assert shown.shape == (side, side, 3)
        for class_id, *box in targets:
            x1, y1, x2, y2 = np.round(np.array(box) * side).astype(int)
            inner = shown[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1]
            assert inner.size == 0 or inner.mean() > 240, (number, class_id)
            assert shown[max(0, y1 - 3) : max(0, y1 - 2), x1:x2].max(initial=0) < 130
            seen += 1
        uncovered = (shown[..., 0] > 127).sum()
        inside = sum(np.prod(np.round((box[3:] - box[1:3]) * side)) for box in targets)
        assert uncovered == pytest.approx(inside, rel=0.06, abs=60)  # nothing to be found is left unmarked
    assert seen > 60


def test_pictures_are_drawn_in_parts_that_are_complete_or_not_there(tmp_path: Path) -> None:
    script = EXAMPLE / "draw_pictures.py"
    command = [sys.executable, script, "--out", tmp_path, "--seed", "4", "--parts", "2", "--pictures", "3"]
    (tmp_path / "part-001.unfinished").mkdir()
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    first = {file.relative_to(tmp_path): file.read_bytes() for file in tmp_path.rglob("*.*") if file.is_file()}
    samples = read_samples(tmp_path)
    (tmp_path / "part-000").rename(tmp_path / "kept")
    subprocess.run(command, check=True, capture_output=True, timeout=100)

    assert not list(tmp_path.glob("*.unfinished"))
    assert len(samples) == 6
    assert all(cv2.imread(str(sample.path)).shape == (640, 640, 3) for sample in samples if sample.path.exists())
    assert {name: (tmp_path / name).read_bytes() for name in first} == first
    assert isinstance(samples[0], Sample)
    ids = [image["id"] for image in json.loads((tmp_path / "part-000" / "annotations.json").read_text())["images"]]
    assert ids == [1, 2, 3]
