"""Samples in the hands of the tools' own libraries, and back."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import supervision
from globox import AnnotationSet
from pycocotools.coco import COCO
from support.labels import NAMES, accept, kept, seen
from support.pictures import jpeg, noise, png

from detector_grpc.capture.exchange import each_picture_once, export, import_labels, stem
from detector_grpc.capture.formats import FORMATS
from detector_grpc.capture.sample import Label, Sidecar
from detector_grpc.capture.sinks.folder import FolderSink
from detector_grpc.errors import SetupInvalid

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from detector_grpc.capture.sinks.sink import Sink

EVERY_FORMAT = pytest.mark.parametrize("name", FORMATS)
BOXES = [
    [(0, 0.9, (10.25, 5.5, 40.125, 30.0)), (1, 0.4, (0.0, 0.0, 64.0, 48.0))],
    [],
    [(2, 0.3, (1.0, 2.0, 3.0, 4.0))],
]


@pytest.fixture
def sink(tmp_path: Path) -> FolderSink:
    return FolderSink(tmp_path / "samples")


@pytest.fixture
def sidecars(sink: Sink) -> list[Sidecar]:
    files = [jpeg(noise(64, 48, 0)), png(noise(64, 48, 1)), jpeg(noise(64, 48, 2))]
    return kept(sink, *(seen(file, boxes) for file, boxes in zip(files, BOXES, strict=True)))


def exported(sink: Sink, sidecars: list[Sidecar], name: str, folder: Path) -> Path:
    export(sink, sidecars, FORMATS[name], folder, lambda: None)
    return folder


def expected(sidecar: Sidecar) -> list[tuple[str, tuple[float, ...]]]:
    return [(box.class_name, pytest.approx(box.bbox, abs=1e-3)) for box in sidecar.detections]


def of_supervision(dataset: Any, path: str) -> list[tuple[str, list[float]]]:
    found = dataset.annotations[path]
    return [(dataset.classes[i], box.tolist()) for i, box in zip(found.class_id, found.xyxy, strict=True)]


def test_pycocotools_has_the_same_boxes(sink: Sink, sidecars: list[Sidecar], tmp_path: Path) -> None:
    coco = COCO(str(exported(sink, sidecars, "coco", tmp_path / "out") / "annotations.json"))
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == list(NAMES)
    images = {each["file_name"]: each for each in coco.loadImgs(coco.getImgIds())}
    for sidecar in sidecars:
        image = images[sidecar.keys.picture.rpartition("/")[2]]
        assert (image["width"], image["height"]) == (64, 48)
        found = [
            (coco.cats[each["category_id"]]["name"], [x, y, x + width, y + height])
            for each in coco.loadAnns(coco.getAnnIds(image["id"]))
            for x, y, width, height in [each["bbox"]]
        ]
        assert found == expected(sidecar)


@pytest.mark.parametrize("name", ["coco", "yolo", "voc"])
def test_supervision_has_the_same_boxes(name: str, sink: Sink, sidecars: list[Sidecar], tmp_path: Path) -> None:
    folder = exported(sink, sidecars, name, tmp_path / "out")
    if name == "coco":
        dataset = supervision.DetectionDataset.from_coco(str(folder / "images"), str(folder / "annotations.json"))
    elif name == "yolo":
        dataset = supervision.DetectionDataset.from_yolo(
            str(folder / "images"), str(folder / "labels"), str(folder / "data.yaml")
        )
    else:
        dataset = supervision.DetectionDataset.from_pascal_voc(str(folder / "JPEGImages"), str(folder / "Annotations"))
    by_stem = {path.rpartition("/")[2].partition(".")[0]: path for path in dataset.image_paths}
    assert sorted(by_stem) == sorted(map(stem, sidecars))
    for sidecar in sidecars:
        assert of_supervision(dataset, by_stem[stem(sidecar)]) == expected(sidecar)


def test_globox_has_the_same_boxes_as_cvat(sink: Sink, sidecars: list[Sidecar], tmp_path: Path) -> None:
    folder = exported(sink, sidecars, "cvat", tmp_path / "out")
    read = {each.image_id: each for each in AnnotationSet.from_cvat(folder / "annotations.xml")}
    for sidecar in sidecars:
        found = read[sidecar.keys.picture.rpartition("/")[2]]
        assert found.image_size == (64, 48)
        assert [(box.label, [box.xmin, box.ymin, box.xmax, box.ymax]) for box in found.boxes] == expected(sidecar)


@EVERY_FORMAT
def test_pictures_are_the_files_that_were_captured(
    name: str, sink: Sink, sidecars: list[Sidecar], tmp_path: Path
) -> None:
    folder = exported(sink, sidecars, name, tmp_path / "out") / FORMATS[name].pictures
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        sidecar.keys.picture.rpartition("/")[2]: sink.get(sidecar.keys.picture) for sidecar in sidecars
    }


def with_orientation(file: bytes, orientation: int) -> bytes:
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation, 0, 0, 0]) + b"\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    return file[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + file[2:]


@pytest.mark.parametrize("orientation", range(1, 9))
@EVERY_FORMAT
def test_in_an_exported_picture_boxes_lie_where_the_model_saw_them(
    name: str, orientation: int, sink: Sink, tmp_path: Path
) -> None:
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[8:24, 32:56] = (255, 255, 255)
    file = with_orientation(jpeg(stored), orientation)
    upright = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
    (sidecar,) = kept(sink, seen(file, [(0, 0.9, white_box(upright))]))
    folder = exported(sink, [sidecar], name, tmp_path / "out") / FORMATS[name].pictures
    (exported_file,) = folder.iterdir()
    # Tools that know of EXIF and those that do not see the same.
    for flag in (cv2.IMREAD_COLOR, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION):
        assert white_box(cv2.imread(str(exported_file), flag)) == sidecar.detections[0].bbox
    assert (exported_file.suffix == ".jpg") == (orientation == 1)


def white_box(image: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(image[:, :, 0] > 128)
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


@EVERY_FORMAT
def test_labels_come_back_exactly(name: str, sink: Sink, sidecars: list[Sidecar], tmp_path: Path) -> None:
    folder = exported(sink, sidecars, name, tmp_path / "out")
    if name == "label-studio":
        accept(folder / "tasks.json")
    done = import_labels(sink, sidecars, FORMATS[name], folder, lambda: None)
    assert done == (3, 0)
    again = [Sidecar.from_json(sink.get(sidecar.keys.sidecar)) for sidecar in sidecars]
    for before, after in zip(sidecars, again, strict=True):
        assert after.labels == tuple(Label(class_name=box.class_name, bbox=box.bbox) for box in before.detections)
        assert after == before.model_copy(update={"labels": after.labels})
    assert import_labels(sink, again, FORMATS[name], folder, lambda: None) == (0, 3)


def test_what_label_studio_was_not_asked_stays_unlabelled(sink: Sink, sidecars: list[Sidecar], tmp_path: Path) -> None:
    folder = exported(sink, sidecars, "label-studio", tmp_path / "out")
    with pytest.raises(SetupInvalid, match="no labels in the format of Label Studio"):
        import_labels(sink, sidecars, FORMATS["label-studio"], folder, lambda: None)


@EVERY_FORMAT
def test_labels_of_people_are_exported_in_place_of_the_boxes_of_the_model(
    name: str, sink: Sink, tmp_path: Path
) -> None:
    labels = (Label(class_name="snowman", bbox=(1.0, 2.0, 30.0, 40.0)),)
    (sidecar,) = kept(sink, seen(png(noise(64, 48)), BOXES[0], labels=labels))
    folder = exported(sink, [sidecar], name, tmp_path / "out")
    assert import_labels(sink, [sidecar], FORMATS[name], folder, lambda: None) == (0, 1)


def test_labels_beyond_the_picture_are_clipped_to_it(sink: Sink, sidecars: list[Sidecar], tmp_path: Path) -> None:
    folder = exported(sink, sidecars, "coco", tmp_path / "out")
    content = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    content["annotations"] = [{**content["annotations"][0], "bbox": [-5, 10, 500, 20]}]
    (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    import_labels(sink, sidecars, FORMATS["coco"], folder, lambda: None)
    first = Sidecar.from_json(sink.get(sidecars[0].keys.sidecar))
    assert first.labels == (Label(class_name="car", bbox=(0.0, 10.0, 64.0, 30.0)),)


def test_a_picture_that_was_captured_twice_is_exported_once(sink: Sink) -> None:
    file, other = png(noise(64, 48)), png(noise(64, 48, 1))
    labels = (Label(class_name="car", bbox=(1.0, 2.0, 3.0, 4.0)),)
    first, labelled, last = kept(
        sink,
        seen(file),
        seen(file, version="v2", labels=labels),
        seen(file, version="v3", minutes=1),
    )
    (unlabelled,) = kept(sink, seen(other))
    assert each_picture_once([first, unlabelled, labelled, last]) == [labelled, unlabelled]
    assert each_picture_once([first, last]) == [last]


def test_an_export_goes_into_a_new_folder_only(sink: Sink, sidecars: list[Sidecar], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SetupInvalid, match="not empty"):
        export(sink, sidecars, FORMATS["coco"], tmp_path / "out", lambda: None)
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["mine.txt"]


BROKEN = {
    "coco": ("annotations.json", "{", "is no JSON"),
    "yolo": ("labels/*.txt", "0 0.5 0.5 0.1", "takes 5 numbers"),
    "voc": ("Annotations/*.xml", "<annotation><object><name>car</name></object></annotation>", "is no number"),
    "label-studio": ("tasks.json", '[{"data": {}}]', "image: is required"),
    "cvat": ("annotations.xml", "<annotations><image", "is no XML"),
}


@EVERY_FORMAT
def test_broken_labels_are_refused_with_their_file(
    name: str, sink: Sink, sidecars: list[Sidecar], tmp_path: Path
) -> None:
    folder = exported(sink, sidecars, name, tmp_path / "out")
    pattern, content, message = BROKEN[name]
    file = min(folder.glob(pattern))
    file.write_text(content, encoding="utf-8")
    with pytest.raises(SetupInvalid, match=message) as caught:
        import_labels(sink, sidecars, FORMATS[name], folder, lambda: None)
    assert file.name in str(caught.value)


NESTED = "".join(f"n{level}: &n{level} [{', '.join([f'*n{level - 1}'] * 9)}]\n" for level in range(1, 12))
HOSTILE = {
    "coco": ("annotations.json", "[" * 10_000, "recursion limit"),
    "yolo": ("data.yaml", f"n0: &n0 [x, x]\n{NESTED}names: [*n11]\n", "the name of class 0 is no text"),
    "voc": (
        "Annotations/*.xml",
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaaaaaaaaaaaa">'
        + "".join(f'<!ENTITY {one} "{f"&{before};" * 20}">' for before, one in itertools.pairwise("abcdefghij"))
        + "]><annotation><object><name>&j;</name></object></annotation>",
        "limit on input amplification",
    ),
    "label-studio": ("tasks.json", '[{"data": {"image": "' + "x" * 32 + "é", "invalid json: eof"),
    "cvat": ("annotations.xml", '<?xml version="1.0" encoding="utf-7"?><annotations/>', "is no XML"),
}


@EVERY_FORMAT
def test_files_that_explode_or_cannot_be_decoded_are_refused(
    name: str, sink: Sink, sidecars: list[Sidecar], tmp_path: Path
) -> None:
    folder = exported(sink, sidecars, name, tmp_path / "out")
    pattern, content, message = HOSTILE[name]
    min(folder.glob(pattern)).write_text(content, encoding="utf-8")
    with pytest.raises(SetupInvalid, match=message):
        import_labels(sink, sidecars, FORMATS[name], folder, lambda: None)


@pytest.mark.parametrize("names", ["[" * 5000, "{²: car}", "car", "{'" + "9" * 5000 + "': car}"])
def test_names_of_classes_that_are_none_are_refused(
    names: str, sink: Sink, sidecars: list[Sidecar], tmp_path: Path
) -> None:
    (tmp_path / "data.yaml").write_text(f"names: {names}\n", encoding="utf-8")
    with pytest.raises(SetupInvalid, match=r"data\.yaml"):
        import_labels(sink, sidecars, FORMATS["yolo"], tmp_path, lambda: None)


def test_a_class_that_xml_cannot_hold_is_refused_where_it_would_be_written(sink: Sink, tmp_path: Path) -> None:
    (sidecar,) = kept(sink, seen(png(noise(64, 48)), labels=(Label(class_name="a\x00b", bbox=(1, 2, 3, 4)),)))
    with pytest.raises(SetupInvalid, match=r"'a\\x00b' cannot be written as XML"):
        exported(sink, [sidecar], "voc", tmp_path / "voc")
    folder = exported(sink, [sidecar], "coco", tmp_path / "coco")
    assert import_labels(sink, [sidecar], FORMATS["coco"], folder, lambda: None) == (0, 1)


def imported(sink: Sink, sidecar: Sidecar, name: str, path: Path) -> list[tuple[float, ...]]:
    import_labels(sink, [sidecar], FORMATS[name], path, lambda: None)
    return [label.bbox for label in Sidecar.from_json(sink.get(sidecar.keys.sidecar)).labels or ()]


def test_of_a_box_that_was_turned_the_upright_one_around_it_counts(
    sink: Sink, sidecars: list[Sidecar], tmp_path: Path
) -> None:
    file = stem(sidecars[0]) + ".jpg"
    # CVAT turns about the centre, Label Studio about the first corner, both clockwise.
    box = '<box label="car" rotation="90.00" xtl="10" ytl="10" xbr="30" ybr="20"/>'
    (tmp_path / "cvat.xml").write_text(f'<annotations><image name="{file}">{box}</image></annotations>')
    assert imported(sink, sidecars[0], "cvat", tmp_path / "cvat.xml") == [(15.0, 5.0, 25.0, 25.0)]
    value = {"x": 50, "y": 50, "width": 25, "height": 12.5, "rotation": 90, "rectanglelabels": ["car"]}
    region = {"type": "rectanglelabels", "value": value}
    tasks = [{"data": {"image": file}, "annotations": [{"result": [region]}]}]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    assert imported(sink, sidecars[0], "label-studio", tmp_path / "tasks.json") == [(26.0, 24.0, 32.0, 40.0)]


@pytest.mark.parametrize(
    ("line", "box"),
    [
        ("0 0.5 0.5 0.25 0.5", (24.0, 12.0, 40.0, 36.0)),
        ("0 0.5 0.5 0.25 0.5 0.9", (24.0, 12.0, 40.0, 36.0)),
        ("0 0.25 0.5 0.5 0.25 0.75 1", (16.0, 12.0, 48.0, 48.0)),
    ],
)
def test_lines_of_yolo_are_boxes_with_or_without_a_confidence_or_outlines(
    line: str, box: tuple[float, ...], sink: Sink, sidecars: list[Sidecar], tmp_path: Path
) -> None:
    (tmp_path / "data.yaml").write_text("names: [car]")
    (tmp_path / f"{stem(sidecars[0])}.txt").write_text(line)
    assert imported(sink, sidecars[0], "yolo", tmp_path) == [box]
    (tmp_path / f"{stem(sidecars[0])}.txt").write_text("0 0.25 0.5 0.5 0.25 0.75 1 1")
    with pytest.raises(SetupInvalid, match="line 1: the outline has 4 numbers across and 3 down"):
        imported(sink, sidecars[0], "yolo", tmp_path)


def test_one_file_where_a_folder_is_expected_is_told(sink: Sink, sidecars: list[Sidecar], tmp_path: Path) -> None:
    folder = exported(sink, sidecars, "voc", tmp_path / "out")
    with pytest.raises(SetupInvalid, match="is no folder; give the one with the files of labels"):
        import_labels(sink, sidecars, FORMATS["voc"], min(folder.rglob("*.xml")), lambda: None)
