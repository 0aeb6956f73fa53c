"""What a person is told of a model file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import yaml
from click.testing import CliRunner, Result
from support.onnx_files import tiny_onnx
from support.servers import BUNDLED_MODELS

from detector_grpc.cli import main
from detector_grpc.serving.manifest import Manifest
from detector_grpc.serving.repository import at
from detector_grpc.serving.session import OnnxFile
from detector_grpc.serving.spec import resolve

if TYPE_CHECKING:
    from pathlib import Path

CODES = BUNDLED_MODELS / "codes" / "v1"


def inspect(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["models", "inspect", *map(str, arguments)], env={"COLUMNS": "200"})


def test_every_key_of_the_manifest_is_shown_with_its_reason() -> None:
    told = inspect(CODES)
    assert told.exit_code == 0
    rows = {line.split("│")[1].strip(): line for line in told.output.splitlines() if line.startswith("│")}
    assert "images float32 [?, 3, 256, 256]" in rows["input"]
    assert "metadata model_family: yolo9" in rows["head"]
    assert "manifest.yaml" in rows["options.confidence_threshold"]
    assert "metadata letterbox_pad: center" in rows["input.resize"]
    assert {"class_names", "outputs", "input.size", "input.mean", "options.max_detections"} <= rows.keys()


def test_a_file_and_its_folder_are_the_same_version() -> None:
    assert inspect(CODES / "model.onnx", "--json").output == inspect(CODES, "--json").output


def test_the_manifest_that_is_printed_concludes_the_same() -> None:
    printed = inspect(CODES, "--manifest")
    assert printed.exit_code == 0
    session = OnnxFile(at(CODES).path)
    spec = resolve(Manifest.model_validate(yaml.safe_load(printed.output)), session)
    assert spec.as_manifest() == json.loads(inspect(CODES, "--json").output)["manifest"]


def test_json_says_what_the_file_says_and_what_follows() -> None:
    told = json.loads(inspect(CODES, "--json").output)
    assert told["inputs"] == ["images float32 [?, 3, 256, 256]"]
    assert told["metadata"]["model_family"] == "yolo9"
    assert told["manifest"]["head"] == "xyxy"
    assert told["digest"].startswith("sha256:")
    assert told["reasons"]["input.size"] == "the input's shape"


def test_of_a_file_that_stays_ambiguous_is_shown_what_it_says_and_what_to_set(tmp_path: Path) -> None:
    told = inspect(tiny_onnx(tmp_path / "street.onnx", output_shape=(1, 84, 8)))
    assert told.exit_code == 1
    assert "output0 float32 [1, 84, 8]" in told.output
    assert "set `class_names`, or `head` in manifest.yaml to one of cxcywh, yolov5, yolox" in told.output
    (tmp_path / "street.yaml").write_text("head: yolox")
    assert inspect(tmp_path / "street.onnx").exit_code == 0


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    told = inspect(tmp_path)
    assert told.exit_code == 1
    assert "ONNX Runtime cannot load it" in told.output


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    told = inspect(tmp_path)
    assert told.exit_code == 1
    assert "model.onnx: cannot be read: No such file" in told.output
