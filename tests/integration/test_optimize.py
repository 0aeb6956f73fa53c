"""`models optimize` writes versions that a server serves, and none that finds less than it may."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from support.calls import SERVING, connected
from support.pictures import png
from support.scenes import SCENES, bundled_scenes
from support.servers import BUNDLED_MODELS, server_process

from detector_grpc.cli import main
from detector_grpc.serving.session import OnnxFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CODES = BUNDLED_MODELS / "codes" / "v1"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundled_scenes(tmp_path_factory.mktemp("scenes") / "annotations.json")


@pytest.fixture(scope="module")
def optimize(scenes: Path) -> Callable[..., Result]:
    def run(*arguments: object, version: Path = CODES) -> Result:
        words = ["models", "optimize", version, "--annotations", scenes, "--images", SCENES, *arguments]
        return CliRunner(env={"COLUMNS": "200"}).invoke(main, [str(word) for word in words])

    return run


@pytest.fixture(scope="module")
def written(optimize: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled detector in 8 bits, calibrated with the bundled pictures."""
    output = tmp_path_factory.mktemp("models") / "codes" / "v8"
    done = optimize("--form", "int8", "--calibration", SCENES, "--max-drop", 30, "--output", output)
    assert done.exit_code == 0, done.output
    return output


def test_the_version_is_complete_and_says_what_was_measured(written: Path) -> None:
    assert sorted(path.name for path in written.iterdir()) == ["manifest.yaml", "model.onnx"]
    assert [path.name for path in written.parent.iterdir()] == ["v8"]
    manifest = yaml.safe_load((written / "manifest.yaml").read_text())
    assert manifest["description"] == yaml.safe_load((CODES / "manifest.yaml").read_text())["description"]
    measured = manifest["measured"]
    assert measured["digest"] == OnnxFile(written / "model.onnx").signature.digest
    assert measured["original"] == OnnxFile(CODES / "model.onnx").signature.digest
    assert (measured["form"], measured["pictures"], measured["max_drop"]) == ("int8", 4, 30)
    assert measured["original_map50_95"] - measured["map50_95"] <= 0.3
    assert (written / "model.onnx").stat().st_size < 0.75 * (CODES / "model.onnx").stat().st_size


def test_the_served_result_is_the_offline_one(written: Path, scenes: Path) -> None:
    def report(*arguments: object) -> dict[str, Any]:
        words = ["models", "evaluate", "--annotations", scenes, "--images", SCENES, "--json", "-", *arguments]
        done = CliRunner().invoke(main, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        (target,) = json.loads(done.stdout)["targets"]
        return {key: target[key] for key in ("digest", "metrics", "intervals", "classes", "confusion")}

    offline = report(written)
    with server_process(repository=written.parents[1], models_default_version="v8") as server:
        with connected(server.address) as client:
            client.wait_for_status(SERVING)
        assert report("--address", server.address, "codes/v8") == offline
    measured = yaml.safe_load((written / "manifest.yaml").read_text())["measured"]
    assert offline["metrics"]["mAP50-95"] == pytest.approx(measured["map50_95"], abs=1e-4)


def test_a_manifest_of_another_file_is_refused(written: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_bytes((written / "manifest.yaml").read_bytes())
    (tmp_path / "model.onnx").write_bytes((CODES / "model.onnx").read_bytes())
    done = CliRunner().invoke(main, ["models", "inspect", str(tmp_path)])
    assert done.exit_code == 1
    assert "`measured` in manifest.yaml is about another file" in done.stderr


def test_a_bad_calibration_is_refused_and_nothing_is_written(optimize: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "black").mkdir()
    (tmp_path / "black" / "black.png").write_bytes(png(np.zeros((64, 64, 3), np.uint8)))
    output = tmp_path / "models" / "codes" / "v8"
    done = optimize("--form", "int8", "--calibration", tmp_path / "black", "--output", output)
    assert done.exit_code == 1
    assert "--max-drop allows 0.5: nothing is written" in done.stderr
    assert "refused" in done.stdout
    assert [*output.parent.iterdir()] == []


def test_every_form_is_measured_beside_the_original(optimize: Callable[..., Result]) -> None:
    done = optimize("--form", "folded", "--form", "fp16-stored", "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [row["form"] for row in rows] == ["original", "folded", "fp16-stored"]
    assert rows[0]["size_bytes"] == (CODES / "model.onnx").stat().st_size
    assert all(row["cpu_ms"] > 0 and row["is_accepted"] for row in rows)
    assert rows[0]["accuracy"]["difference"]["value"] == 0
    assert rows[1]["accuracy"]["map50_95"] == pytest.approx(rows[0]["accuracy"]["map50_95"], abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--form", "int8"], "int8 takes --calibration"),
        (["--form", "int8", "--calibration", "{empty}"], "there are no pictures in {empty} to calibrate with"),
        (["--output", "{empty}/codes/v3"], "--output takes one --form"),
        (["--form", "slim", "--output", "{empty}"], "{empty} exists"),
        (["--form", "slim", "--output", "{file}/codes/v3"], "cannot write to {file}/codes: Not a directory"),
        (["--form", "slim", "--output", "/proc/codes/v3"], "cannot write to /proc/codes: "),
    ],
)
def test_what_cannot_be_done_is_said_at_once(
    optimize: Callable[..., Result], tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    places = {"empty": tmp_path / "empty", "file": tmp_path / "file"}
    places["empty"].mkdir()
    places["file"].touch()
    done = optimize(*(each.format(**places) for each in arguments))
    assert (done.exit_code, done.stdout) == (2, "")
    assert sentence.format(**places) in done.stderr


def test_without_onnx_the_extra_is_named(optimize: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector_grpc.optimisation.tools.import_module", raise_import_error)
    done = optimize("--form", "slim")
    assert done.exit_code == 2
    assert "pip install 'detector-grpc[cpu,optimize]'" in done.stderr


def raise_import_error(name: str) -> None:
    raise ImportError(name)
