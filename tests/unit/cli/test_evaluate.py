"""What `models evaluate` says of small models whose boxes are known."""

from __future__ import annotations

import builtins
import json
from typing import TYPE_CHECKING, Any

import cv2
import pytest
import yaml
from click.testing import CliRunner, Result
from support.onnx_files import Box, tiny_onnx
from support.pictures import noise, png
from support.scenes import coco_json

from detector_grpc.cli import main
from detector_grpc.errors import InferenceFailed
from detector_grpc.serving.manifest import Manifest
from detector_grpc.serving.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PICTURES = ["a.png", "b.png", "c.png"]
CATEGORIES = {3: "bus", 90: "car"}
# As tests see them: what is marked, and the same as corners, which a model finds in every picture of 64 x 64.
CAR = {"category_id": 90, "bbox": [16, 8, 32, 32]}
CORNERS = (16, 8, 48, 40)
ELSEWHERE = (0, 44, 10, 60)


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """Three pictures with the same car."""
    (tmp_path / "images").mkdir()
    for seed, name in enumerate(PICTURES):
        (tmp_path / "images" / name).write_bytes(png(noise(64, 64, seed)))
    return marked(tmp_path)


def marked(folder: Path, pictures: list[str] = PICTURES, **of_boxes: object) -> Path:
    boxes = [{**CAR, "image_id": number, **of_boxes} for number in range(1, len(pictures) + 1)]
    return coco_json(folder / "annotations.json", pictures, CATEGORIES, boxes)


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Path]:
    """Makes a version that finds these boxes in every picture; by default the car, of which it is sure to .9."""

    def make(version: str, *boxes: Box, names: str = '["car", "bus"]') -> Path:
        folder = tmp_path / "models" / "street" / version
        tiny_onnx(folder / "model.onnx", boxes=boxes or (Box(CORNERS),), names=names)
        return folder

    return make


def evaluate(annotations: Path, *arguments: object, **env: str) -> Result:
    words = ["models", "evaluate", "--annotations", annotations, "--resamples", 200, *arguments]
    return CliRunner(env={"COLUMNS": "200", **env}).invoke(main, [str(word) for word in words])


def report(annotations: Path, *arguments: object) -> dict[str, Any]:
    done = evaluate(annotations, "--json", "-", *arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refusal(annotations: Path, *arguments: object) -> list[str]:
    """The lines of an evaluation that is refused, and of which nothing else is left."""
    before = set(annotations.parent.rglob("*"))
    written = ("--json", annotations.parent / "all.json", "--plots", annotations.parent / "plots")
    done = evaluate(annotations, *written, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert set(annotations.parent.rglob("*")) == before
    return done.stderr.splitlines()


def test_classes_are_matched_by_name_whatever_their_ids(annotations: Path, model: Callable[..., Path]) -> None:
    told = report(annotations, model("v1"))
    (target,) = told["targets"]
    assert (told["pictures"], told["boxes"], told["crowds"]) == (3, 3, 0)
    assert target["name"] == "street/v1"
    assert target["metrics"]["mAP50-95"] == pytest.approx(1)
    bus, car = target["classes"]
    assert (bus["name"], bus["boxes"], bus["ap50"]) == ("bus", 0, None)
    assert (car["name"], car["boxes"], car["ap50_95"], car["ar"]) == ("car", 3, pytest.approx(1), 1)
    assert target["confusion"] == [[0, 0, 0], [0, 3, 0], [0, 0, 0]]
    assert told["differences"] == {}


def test_a_wrong_name_is_a_wrong_class(annotations: Path, model: Callable[..., Path]) -> None:
    (target,) = report(annotations, model("v1", names='["bus", "car"]'))["targets"]
    assert target["metrics"]["mAP50-95"] == 0
    assert target["classes"][1]["best"] is None


def test_confusion_is_that_at_the_best_thresholds(annotations: Path, model: Callable[..., Path]) -> None:
    (target,) = report(annotations, model("v1", Box(CORNERS), Box(ELSEWHERE, confidence=0.1)))["targets"]
    assert target["confusion"] == [[0, 0, 0], [0, 3, 0], [0, 0, 0]]
    (target,) = report(annotations, model("v2", Box(CORNERS, confidence=0.1), Box(ELSEWHERE)))["targets"]
    assert target["confusion"] == [[0, 0, 0], [0, 3, 0], [0, 3, 0]]


def test_the_table_says_what_the_json_says(annotations: Path, model: Callable[..., Path]) -> None:
    done = evaluate(annotations, model("v1"))
    assert done.exit_code == 0
    assert done.stdout.startswith("3 pictures, 3 objects to find\n")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["mAP50-95", "1.000", "(1.000", "to", "1.000)"] in rows
    assert ["mAP50-95", "large"] in rows
    assert ["car", "3", "1.000", "1.000", "1.000", "0.451", "1.000", "1.000"] in rows
    assert ["bus", "0"] in rows
    assert any(row[:2] == ["street/v1", "median"] for row in rows)


def test_the_thresholds_are_printed_as_a_manifest_takes_them(annotations: Path, model: Callable[..., Path]) -> None:
    printed = evaluate(annotations, model("v1"), "--iou", 0.55, "--single-label").stdout
    options = Manifest.model_validate(yaml.safe_load(printed[printed.index("\noptions:") :])).options
    assert options.class_confidence_thresholds == {"car": 0.451}
    assert (options.iou_threshold, options.multi_label) == (0.55, False)


def test_the_setting_is_that_of_the_options(annotations: Path, model: Callable[..., Path]) -> None:
    chosen = ("--confidence", 0.95, "--iou", 0.5, "--single-label", "--max-detections", 7, "--workers", 1, "--seed", 4)
    told = report(annotations, model("v1"), *chosen)
    assert told["setting"] == {
        "confidence_threshold": 0.95,
        "iou_threshold": 0.5,
        "multi_label": False,
        "max_detections": 7,
        "workers": 1,
        "resamples": 200,
        "seed": 4,
    }
    assert told["targets"][0]["metrics"]["mAP50"] == 0  # of .9 it is not sure enough


def test_without_an_option_the_overlap_is_that_of_the_version(annotations: Path, model: Callable[..., Path]) -> None:
    folder = model("v1")
    (folder / "manifest.yaml").write_text("options: {iou_threshold: 0.35}")
    assert report(annotations, folder)["targets"][0]["iou_threshold"] == 0.35


def test_every_part_of_the_time_is_told(annotations: Path, model: Callable[..., Path]) -> None:
    latency = report(annotations, model("v1"))["targets"][0]["latency"]
    assert list(latency) == ["total", "decode", "preprocess", "inference", "postprocess"]
    assert all(0 < each["median_ms"] <= each["p95_ms"] for each in latency.values())
    assert latency["total"]["median_ms"] >= latency["inference"]["median_ms"]


def test_crowds_are_neither_to_be_found_nor_wrong_to_find(annotations: Path, model: Callable[..., Path]) -> None:
    content = json.loads(annotations.read_text())
    content["annotations"][2]["iscrowd"] = 1
    annotations.write_text(json.dumps(content))
    told = report(annotations, model("v1"))
    assert (told["boxes"], told["crowds"]) == (2, 1)
    assert told["targets"][0]["metrics"]["mAP50"] == pytest.approx(1)
    assert "1 marked as crowds" in evaluate(annotations, model("v1")).stdout


def test_of_two_targets_the_better_one_is_said_to_be(annotations: Path, model: Callable[..., Path]) -> None:
    good, bad = model("good"), model("bad", Box(ELSEWHERE))
    told = report(annotations, bad, good)
    difference = told["differences"]["mAP50-95"]
    assert difference["value"] == pytest.approx(1)
    assert difference["interval"] == {"low": pytest.approx(1), "high": pytest.approx(1)}
    assert difference["is_distinguishable"]
    printed = evaluate(annotations, good, bad).stdout
    assert "mAP50 of street/bad against street/good: -1.000" in printed
    assert "distinguishable from noise: street/good is better" in printed


def test_two_that_find_the_same_are_not_distinguishable(annotations: Path, model: Callable[..., Path]) -> None:
    one, other = model("v1"), model("v2")
    difference = report(annotations, one, other)["differences"]["mAP50"]
    assert difference == {"value": 0, "interval": {"low": 0, "high": 0}, "is_distinguishable": False}
    assert evaluate(annotations, one, other).stdout.count("not distinguishable from noise") == 2


def test_the_same_seed_gives_the_same_intervals(tmp_path: Path, model: Callable[..., Path]) -> None:
    (tmp_path / "images").mkdir()
    pictures = [f"{number}.png" for number in range(12)]
    for number, name in enumerate(pictures):
        (tmp_path / "images" / name).write_bytes(png(noise(64, 64, number)))
    content = json.loads(marked(tmp_path, pictures).read_text())
    for box in content["annotations"][:5]:
        box["bbox"] = [0, 40, 20, 20]
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    first, again, other = (
        report(tmp_path / "annotations.json", model("v1"), "--seed", seed)["targets"][0]["intervals"]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert first["mAP50"]["low"] < first["mAP50"]["high"]


def test_a_model_file_brings_the_manifest_beside_it(annotations: Path, tmp_path: Path) -> None:
    path = tiny_onnx(tmp_path / "lone.onnx", boxes=(Box(CORNERS),))
    path.with_suffix(".yaml").write_text("class_names: [car, bus]")
    (target,) = report(annotations, path)["targets"]
    assert (target["name"], target["metrics"]["mAP50"]) == ("lone", pytest.approx(1))


def test_targets_of_the_same_name_go_by_their_paths(
    annotations: Path, model: Callable[..., Path], tmp_path: Path
) -> None:
    one = model("v1")
    other = tiny_onnx(tmp_path / "more" / "street" / "v1" / "model.onnx", names='["car", "bus"]').parent
    assert [each["name"] for each in report(annotations, one, other)["targets"]] == [str(one), str(other)]


def test_classes_that_are_no_categories_are_reported_and_harmless(annotations: Path, tmp_path: Path) -> None:
    path = tiny_onnx(
        tmp_path / "m.onnx", boxes=(Box(CORNERS), Box(CORNERS, 2)), classes=3, names='["car", "bus", "tram"]'
    )
    (target,) = report(annotations, path)["targets"]
    assert target["unmarked"] == ["tram"]
    assert target["confusion"] == [[0, 0, 0], [0, 3, 0], [0, 0, 0]]
    assert target["metrics"]["mAP50"] == pytest.approx(1)
    assert "no such category: tram" in evaluate(annotations, path).stdout


def test_plots_are_written_for_every_target(annotations: Path, model: Callable[..., Path], tmp_path: Path) -> None:
    done = evaluate(annotations, model("v1"), model("v2"), "--plots", tmp_path / "new" / "plots")
    assert done.exit_code == 0, done.output
    names = ["confusion_street_v1.png", "confusion_street_v2.png", "precision_recall.png"]
    assert sorted(path.name for path in (tmp_path / "new" / "plots").iterdir()) == names
    for name in names:
        assert cv2.imread(str(tmp_path / "new" / "plots" / name)).std() > 0
        assert str(tmp_path / "new" / "plots" / name) in done.stdout


def test_json_goes_to_a_file_beside_the_table(annotations: Path, model: Callable[..., Path], tmp_path: Path) -> None:
    done = evaluate(annotations, model("v1"), "--json", tmp_path / "new" / "all.json")
    assert "mAP50" in done.stdout
    assert json.loads((tmp_path / "new" / "all.json").read_text())["pictures"] == 3


def test_missing_pictures_are_named_up_to_ten_and_counted(annotations: Path, model: Callable[..., Path]) -> None:
    names = [f"lost{number}.png" for number in range(12)]
    (line,) = refusal(marked(annotations.parent, [*PICTURES, *names]), model("v1"))
    folder = annotations.parent / "images"
    assert line.startswith(f"Error: 12 of 15 pictures in {folder} cannot be used: lost0.png (missing), lost1.png (mi")
    assert "lost9.png (missing) and 2 more (--skip-missing" in line


def test_missing_and_broken_pictures_can_be_left_out_and_are_counted(
    annotations: Path, model: Callable[..., Path]
) -> None:
    (annotations.parent / "images" / "b.png").write_bytes(b"no picture")
    path = marked(annotations.parent, [*PICTURES, "lost.png"])
    told = report(path, model("v1"), "--skip-missing")
    assert (told["pictures"], told["boxes"]) == (2, 2)
    assert told["skipped"]["pictures"]["lost.png"] == "missing"
    assert "the bytes are no" in told["skipped"]["pictures"]["b.png"]
    assert told["targets"][0]["metrics"]["mAP50"] == pytest.approx(1)
    assert (
        "Left out pictures (2): lost.png (missing), b.png (the bytes"
        in evaluate(path, model("v1"), "--skip-missing").stdout
    )


def test_broken_pictures_are_named_with_what_is_wrong(annotations: Path, model: Callable[..., Path]) -> None:
    (annotations.parent / "images" / "a.png").write_bytes(b"")
    whole = (annotations.parent / "images" / "c.png").read_bytes()
    (annotations.parent / "images" / "c.png").write_bytes(whole[:40])
    (line,) = refusal(annotations, model("v1"), model("v2"))
    assert "2 of 3 pictures" in line
    assert "a.png (the picture is empty), c.png (" in line


def test_pictures_lie_where_it_is_said(annotations: Path, model: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    assert "3 of 3 pictures" in refusal(annotations, model("v1"))[0]
    assert report(annotations, model("v1"), "--images", tmp_path / "elsewhere")["pictures"] == 3


def test_a_category_that_the_model_does_not_know_is_named_with_its_boxes(
    annotations: Path, model: Callable[..., Path]
) -> None:
    (line,) = refusal(annotations, model("v1", names='["bus", "tram"]'))
    assert line.startswith("Error: street/v1 does not know all categories")
    assert "it lacks car (3) (--skip-unknown" in line


def test_unknown_categories_can_be_left_out_and_are_reported(annotations: Path, model: Callable[..., Path]) -> None:
    content = json.loads(annotations.read_text())
    content["annotations"].append({"id": 9, "image_id": 1, "category_id": 3, "bbox": [0, 0, 5, 5]})
    annotations.write_text(json.dumps(content))
    folder = model("v1", names='["car", "tram"]')
    assert "lacks bus (1)" in refusal(annotations, folder)[0]
    told = report(annotations, folder, "--skip-unknown")
    assert told["skipped"]["categories"] == {"bus": 1}
    assert [each["name"] for each in told["targets"][0]["classes"]] == ["car"]
    assert (
        "Left out categories that a model does not know (1): bus (1)"
        in evaluate(annotations, folder, "--skip-unknown").stdout
    )


def test_an_unknown_category_without_objects_is_reported_and_harmless(
    annotations: Path, model: Callable[..., Path]
) -> None:
    told = report(annotations, model("v1", names='["car", "tram"]'))
    assert told["skipped"]["categories"] == {"bus": 0}


@pytest.mark.parametrize("flags", [(), ("--skip-unknown",)])
def test_no_common_class_is_refused_with_both_lists(
    annotations: Path, model: Callable[..., Path], flags: tuple[str, ...]
) -> None:
    (line,) = refusal(annotations, model("v1", names='["cat", "dog"]'), *flags)
    assert line == "Error: street/v1 knows none of the categories: they are bus, car, its classes cat, dog"


def test_nothing_to_find_is_refused(annotations: Path, model: Callable[..., Path]) -> None:
    (line,) = refusal(marked(annotations.parent, iscrowd=1), model("v1"))
    assert "nothing to find: no object is marked in the 3 pictures" in line


def test_annotations_that_cannot_be_used_are_refused(annotations: Path, model: Callable[..., Path]) -> None:
    (line,) = refusal(annotations.with_name("absent.json"), model("v1"))
    assert line.startswith(f"Error: cannot read the annotations {annotations.with_name('absent.json')}: No such file")
    annotations.write_text('{"images": []}')
    assert len(refusal(annotations, model("v1"))) == 2


def test_a_target_that_is_not_there_is_refused_with_what_to_do(annotations: Path, tmp_path: Path) -> None:
    (line,) = refusal(annotations, tmp_path / "absent")
    assert line == f"Error: there is no {tmp_path / 'absent'}; a version of a running server needs --address"


def test_a_version_that_cannot_be_served_fails_with_its_cause(annotations: Path, model: Callable[..., Path]) -> None:
    (model("v1") / "model.onnx").write_bytes(b"no model")
    done = evaluate(annotations, annotations.parent / "models" / "street" / "v1")
    assert done.exit_code == 1
    assert "ONNX Runtime cannot load it" in done.stderr
    assert done.stdout == ""


def test_a_model_that_fails_on_a_picture_ends_the_evaluation(
    annotations: Path, model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InferenceFailed from ValueError("out of memory")

    monkeypatch.setattr(Pipeline, "detect", refuse)
    done = evaluate(annotations, model("v1"))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "Error: street/v1: the model could not be run on this picture: out of memory\n"


@pytest.mark.parametrize("count", [0, 3])
def test_one_or_two_targets_are_evaluated(annotations: Path, model: Callable[..., Path], count: int) -> None:
    assert evaluate(annotations, *(model(f"v{number}") for number in range(count))).exit_code == 2


def test_a_target_is_not_compared_with_itself(annotations: Path, model: Callable[..., Path]) -> None:
    done = evaluate(annotations, model("v1"), model("v1"))
    assert done.exit_code == 2
    assert "two different ones" in done.stderr


@pytest.mark.parametrize(("package", "flags"), [("pycocotools", ()), ("matplotlib", ("--plots", "plots"))])
def test_without_the_extra_it_is_named_before_anything_is_read(
    annotations: Path, monkeypatch: pytest.MonkeyPatch, package: str, flags: tuple[str, ...]
) -> None:
    real = builtins.__import__

    def without(name: str, *args: object) -> object:
        if name.startswith(package):
            raise ImportError
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    done = evaluate(annotations.with_name("absent.json"), "absent", *flags)
    assert done.exit_code == 2
    assert done.stderr == f"Error: {package} is not installed: `pip install 'detector-grpc[evaluate]'`\n"
