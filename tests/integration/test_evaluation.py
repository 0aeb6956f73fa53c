"""An evaluation finds the same through a server as without one, and what the reference says of models of others.

Most photos and models are not part of the project; they lie in `shared/data` beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from support.calls import SERVING, connected
from support.metrics import read_metrics
from support.pictures import noise, png
from support.reference import REFERENCES
from support.scenes import SCENES, bundled_scenes, coco_json
from support.servers import BUNDLED_MODELS, server_process

from detector_grpc.cli import main
from detector_grpc.cli.served import ServedTarget
from detector_grpc.client import Detector
from detector_grpc.evaluation.target import OfflineTarget
from detector_grpc.serving import repository
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.session import OnnxFile

if TYPE_CHECKING:
    from support.calls import Client
    from support.servers import ServerProcess

DATA = Path(__file__).parents[2].parent / "shared" / "data"
PHOTOS, MODELS = DATA / "voc100", DATA / "models"

needs_data = pytest.mark.skipif(not DATA.exists(), reason="the photos and models are not beside the project")


def evaluate(annotations: Path, *arguments: object) -> Result:
    words = ["models", "evaluate", "--annotations", annotations, *arguments]
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, [str(word) for word in words])


def report(annotations: Path, *arguments: object) -> dict[str, Any]:
    done = evaluate(annotations, "--json", "-", *arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def precision(told: dict[str, Any]) -> dict[str, Any]:
    """All of a report that does not depend on how fast anything was."""
    for target in told["targets"]:
        del target["latency"]
    del told["setting"]["workers"]
    return told


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotations of the bundled pictures."""
    return bundled_scenes(tmp_path_factory.mktemp("scenes") / "annotations.json")


@pytest.mark.usefixtures("codes")
def test_bundled_models_are_evaluated_alike_offline_and_served(codes_server: ServerProcess, scenes: Path) -> None:
    pictures = ("--images", SCENES)
    offline = report(scenes, *pictures, BUNDLED_MODELS / "codes" / "v1", BUNDLED_MODELS / "codes" / "v2")
    served = report(scenes, *pictures, "--address", codes_server.address, "codes/v1", "codes/v2")

    assert list(served["targets"][0]["latency"]) == [
        "total", "queue", "decode", "preprocess", "inference", "postprocess"
    ]  # fmt: skip
    assert precision(offline) == precision(served)
    assert offline["targets"][0]["metrics"]["mAP50"] > 0.9


@pytest.mark.usefixtures("codes")
def test_what_a_server_does_not_hold_is_refused_with_what_it_holds(codes_server: ServerProcess, scenes: Path) -> None:
    done = evaluate(scenes, "--images", SCENES, "--address", codes_server.address, "codes/v9")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "Error: the server does not hold codes/v9; it holds codes/v1, codes/v2\n"


def test_a_target_of_a_server_is_model_and_version(scenes: Path) -> None:
    done = evaluate(scenes, "--images", SCENES, "--address", "localhost:1", "codes", "a/b/c")
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        'Error: "codes" is not MODEL/VERSION, which --address takes',
        'Error: "a/b/c" is not MODEL/VERSION, which --address takes',
    ]


def test_without_a_server_one_sentence_says_so(scenes: Path) -> None:
    done = evaluate(scenes, "--images", SCENES, "--address", "localhost:1", "codes/v1")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: no answer from localhost:1 ")


def test_a_version_that_failed_is_refused(tmp_path: Path, scenes: Path) -> None:
    (tmp_path / "street" / "v1").mkdir(parents=True)
    (tmp_path / "street" / "v1" / "model.onnx").write_bytes(b"no model")
    with server_process(repository=tmp_path) as server:
        server.wait_for_log("version failed")
        done = evaluate(scenes, "--images", SCENES, "--address", server.address, "street/v1")
    assert done.exit_code == 2
    assert "street/v1 is FAILED" in done.stderr


@pytest.mark.usefixtures("codes")
def test_pictures_that_cannot_be_used_are_named_alike_offline_and_served(
    codes_server: ServerProcess, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    whole = png(noise(300, 200))
    files = {"whole.png": whole, "empty.png": b"", "text.png": b"text", "cut.png": whole[:1000], "large.png": b"\x89"}
    for name, data in files.items():
        (tmp_path / "images" / name).write_bytes(data)
    boxes = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5]}]
    path = coco_json(tmp_path / "annotations.json", list(files), {1: "qr_code"}, boxes)
    offline = evaluate(path, BUNDLED_MODELS / "codes" / "v1")
    served = evaluate(path, "--address", codes_server.address, "codes/v1")
    assert (offline.exit_code, served.exit_code) == (2, 2)
    assert "4 of 5 pictures" in offline.stderr
    assert offline.stderr == served.stderr


@pytest.mark.usefixtures("codes")
def test_a_picture_that_is_larger_than_the_server_takes_is_named(codes_server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name, size in (("large.png", 17 * 2**20 - 2**19), ("huge.png", 40 * 2**20)):
        (tmp_path / "images" / name).write_bytes(bytes(size))
    boxes = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5]}]
    path = coco_json(tmp_path / "annotations.json", ["large.png", "huge.png"], {1: "qr_code"}, boxes)
    done = evaluate(path, "--address", codes_server.address, "codes/v1")
    assert done.exit_code == 2
    assert "2 of 2 pictures" in done.stderr
    assert "large.png (the request has" in done.stderr
    assert "huge.png (" in done.stderr


def test_a_busy_server_is_asked_again(scenes: Path) -> None:
    with server_process(repository=BUNDLED_MODELS, limits_max_queue=0, runtime_workers=1) as server:
        with connected(server.address) as client:
            client.wait_for_status(SERVING)
        told = report(scenes, "--images", SCENES, "--address", server.address, "codes/v1")
        refused = read_metrics(server).value("object_detection_shed_total", reason="queue_full")
    assert refused > 0
    assert told["pictures"] == 4


def test_a_file_that_changes_during_the_evaluation_ends_it(codes_server: ServerProcess, codes: Client) -> None:
    assert codes
    with Detector(codes_server.address, "codes", "v1") as detector:
        target = ServedTarget(detector, "codes", "v1", RequestedOptions())
        target.digest = f"sha256:{'0' * 64}"
        with pytest.raises(click.ClickException, match="has loaded another file as codes/v1"):
            target.look((SCENES / "desk.jpg").read_bytes())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of models of others, each as the version of its name."""
    folder = tmp_path_factory.mktemp("models")
    class_names = (MODELS / "coco80.names").read_text(encoding="utf-8").split("\n")[:80]
    for version, reference in REFERENCES.items():
        (folder / "coco" / version).mkdir(parents=True)
        (folder / "coco" / version / "model.onnx").symlink_to(MODELS / reference.file)
        manifest = {"class_names": class_names, **reference.manifest}
        (folder / "coco" / version / "manifest.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")
    return folder


@needs_data
def test_models_of_others_are_as_precise_as_the_reference_says_offline_and_served(models: Path) -> None:
    annotations = PHOTOS / "annotations.json"
    reference = REFERENCES["yolox_nano"]
    iou = ("--iou", reference.iou)
    offline = report(annotations, *iou, models / "coco" / "yolox_nano", models / "coco" / "yolox_nano_fp16")
    with server_process(repository=models) as server:
        with connected(server.address) as client:
            client.wait_for_status(SERVING)
        targets = ("coco/yolox_nano", "coco/yolox_nano_fp16")
        served = report(annotations, *iou, "--address", server.address, *targets)
        pictures = [path.read_bytes() for path in sorted((PHOTOS / "images").iterdir())[:20]]
        assert_same_boxes(models / "coco" / "yolox_nano", server.address, pictures)

    first, second = offline["targets"]
    assert first["metrics"]["mAP50-95"] == pytest.approx(reference.map_, abs=0.002)
    assert first["metrics"]["mAP50"] == pytest.approx(0.784, abs=0.002)
    assert second["metrics"]["mAP50-95"] == pytest.approx(0.541, abs=0.002)
    assert second["metrics"]["mAP50"] == pytest.approx(0.785, abs=0.002)
    assert (offline["pictures"], offline["boxes"], offline["crowds"]) == (100, 235, 38)
    assert precision(offline) == precision(served)

    for name, difference in offline["differences"].items():
        values = [target["metrics"][name] for target in offline["targets"]]
        assert difference["value"] == values[1] - values[0]
        assert difference["interval"]["low"] <= difference["value"] <= difference["interval"]["high"]
        for target in offline["targets"]:
            interval = target["intervals"][name]
            assert interval["low"] <= target["metrics"][name] <= interval["high"]
    # Half precision of the same weights: 100 pictures cannot tell.
    assert not offline["differences"]["mAP50-95"]["is_distinguishable"]


def assert_same_boxes(folder: Path, address: str, pictures: list[bytes]) -> None:
    """Offline and served, float for float."""
    source = repository.at(folder)
    options = RequestedOptions(confidence_threshold=0.001, multi_label=True, max_detections=100)
    offline = OfflineTarget("offline", source, OnnxFile, 2**30, options)
    with Detector(address, source.model, source.version) as detector:
        served = ServedTarget(detector, source.model, source.version, options)
        assert offline.class_names == served.class_names
        assert offline.digest == served.digest
        for picture in pictures:
            here, there = offline.look(picture).detections, served.look(picture).detections
            assert len(here) > 0
            np.testing.assert_array_equal(here.xyxy, there.xyxy)
            np.testing.assert_array_equal(here.confidence, there.confidence)
            np.testing.assert_array_equal(here.class_id, there.class_id)


@needs_data
def test_the_categories_of_the_photos_are_classes_of_the_models_by_name_and_by_coco_id() -> None:
    content = json.loads((PHOTOS / "annotations.json").read_text())
    class_names = (MODELS / "coco80.names").read_text(encoding="utf-8").split("\n")[:80]
    ids = json.loads((MODELS / "coco80_category_ids.json").read_text())
    by_name = dict(zip(class_names, ids, strict=True))
    assert {category["name"]: category["id"] for category in content["categories"]}.items() <= by_name.items()
