from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.scenes import coco_json

from detector_grpc.coco import MOST_FAULTS, TrueBox, read_annotations
from detector_grpc.errors import SetupInvalid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CATEGORIES = {7: "car", 90: "bus"}
BOX = {"image_id": 1, "category_id": 90, "bbox": [1, 2, 3, 4]}


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    path = coco_json(tmp_path / "right.json", ["a.jpg", "b.jpg"], CATEGORIES, [BOX, {**BOX, "image_id": 2}])
    return json.loads(path.read_text())


def faults(path: Path, content: object) -> tuple[str, ...]:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    with pytest.raises(SetupInvalid) as caught:
        read_annotations(path)
    assert all(str(path) in fault or fault.startswith("and ") for fault in caught.value.faults)
    return caught.value.faults


def test_boxes_know_their_category_by_name_whatever_the_ids(tmp_path: Path) -> None:
    marked = read_annotations(
        coco_json(
            tmp_path / "a.json",
            ["a.jpg"],
            CATEGORIES,
            [{**BOX, "area": 7, "iscrowd": 1, "segmentation": [[1, 2]]}, BOX],
        )
    )
    assert marked.pictures == {1: "a.jpg"}
    assert marked.categories == ("car", "bus")
    assert marked.boxes == (
        TrueBox(1, "bus", (1, 2, 3, 4), 7, is_crowd=True),
        TrueBox(1, "bus", (1, 2, 3, 4), 12, is_crowd=False),
    )
    assert marked.counts() == {"bus": 1}


def test_ids_may_be_zero(tmp_path: Path, content: dict[str, Any]) -> None:
    content["images"][0]["id"] = content["annotations"][0]["image_id"] = content["annotations"][0]["id"] = 0
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read_annotations(tmp_path / "a.json").pictures == {0: "a.jpg", 2: "b.jpg"}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupInvalid, match=r"cannot read the annotations .*absent.json: No such file"):
        read_annotations(tmp_path / "absent.json")


@pytest.mark.parametrize("text", ["", "{", "\xff", "<xml/>"])
def test_what_is_no_json_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    (fault,) = faults(tmp_path / "a.json", text)
    assert "is no JSON" in fault


@pytest.mark.parametrize("other", [[], 5, "text"])
def test_json_of_another_kind_is_refused(tmp_path: Path, other: object) -> None:
    (fault,) = faults(tmp_path / "a.json", other if isinstance(other, str) else json.dumps(other))
    assert "a.json" in fault


def test_missing_keys_are_all_named(tmp_path: Path, content: dict[str, Any]) -> None:
    del content["categories"], content["images"][1]["file_name"], content["annotations"][0]["bbox"]
    told = faults(tmp_path / "a.json", content)
    assert [fault.split("COCO: ")[1] for fault in told] == [
        "images[1].file_name is missing",
        "annotations[0].bbox is missing",
        "categories is missing",
    ]


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ([0, 0, -1, 4], "annotations[0].bbox[2]"),
        ([0, 0, 1, -4], "annotations[0].bbox[3]"),
        ([0, 0, float("nan"), 4], "annotations[0].bbox[2]"),
        ([0, 0, 1, float("inf")], "annotations[0].bbox[3]"),
        ([float("nan"), 0, 1, 4], "annotations[0].bbox[0]"),
        ([0, 0, 1], "annotations[0].bbox"),
        (["a", 0, 1, 1], "annotations[0].bbox[0]"),
    ],
)
def test_a_box_that_is_none_is_named_with_its_value(
    tmp_path: Path, content: dict[str, Any], box: list[float], place: str
) -> None:
    content["annotations"][0]["bbox"] = box
    (fault,) = faults(tmp_path / "a.json", content)
    assert place in fault


def test_of_many_faults_the_first_are_told_and_how_many_more_there_are(tmp_path: Path, content: dict[str, Any]) -> None:
    content["annotations"] = [{**BOX, "id": number, "bbox": [0, 0, -1, 1]} for number in range(MOST_FAULTS + 3)]
    told = faults(tmp_path / "a.json", content)
    assert len(told) == MOST_FAULTS + 1
    assert told[-1].startswith("and 3 more")


def repeat_image(content: dict[str, Any]) -> None:
    content["images"][1]["id"] = 1


def repeat_category(content: dict[str, Any]) -> None:
    content["categories"][1]["id"] = 7


def repeat_annotation(content: dict[str, Any]) -> None:
    content["annotations"][1]["id"] = 1


def repeat_name(content: dict[str, Any]) -> None:
    content["categories"][1]["name"] = "car"


def name_unknown_image(content: dict[str, Any]) -> None:
    content["annotations"][0]["image_id"] = 77


def name_unknown_category(content: dict[str, Any]) -> None:
    content["annotations"][0]["category_id"] = 78


def drop_images(content: dict[str, Any]) -> None:
    content["images"] = content["annotations"] = []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (repeat_image, "images have the same id more than once: 1"),
        (repeat_category, "categories have the same id more than once: 7"),
        (repeat_annotation, "annotations have the same id more than once: 1"),
        (repeat_name, "categories have the same name more than once: car"),
        (name_unknown_image, "annotations name images that there are not: 77"),
        (name_unknown_category, "annotations name categories that there are not: 78"),
        (drop_images, "there are no images"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    tmp_path: Path, content: dict[str, Any], spoil: Callable[[dict[str, Any]], None], said: str
) -> None:
    spoil(content)
    assert any(fault.endswith(said) for fault in faults(tmp_path / "a.json", content))


def test_only_some_pictures_and_categories_can_be_kept(tmp_path: Path) -> None:
    boxes = [{**BOX, "image_id": image, "category_id": category} for image in (1, 2) for category in CATEGORIES]
    marked = read_annotations(coco_json(tmp_path / "a.json", ["a.jpg", "b.jpg"], CATEGORIES, boxes))
    kept = marked.only({2}, {"car"})
    assert (kept.pictures, kept.categories) == ({2: "b.jpg"}, ("car",))
    assert [(box.picture_id, box.category) for box in kept.boxes] == [(2, "car")]
