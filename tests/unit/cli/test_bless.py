"""What is blessed passes the gate, and what the pictures would not notice is said."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from support.onnx_files import Box, tiny_onnx
from support.servers import BUNDLED_MODELS

from detector_grpc.cli import main
from detector_grpc.errors import ModelInvalid
from detector_grpc.serving.registry import open_version
from detector_grpc.serving.repository import at
from detector_grpc.serving.session import OnnxFile

if TYPE_CHECKING:
    from pathlib import Path

PICTURES = BUNDLED_MODELS.parent / "pictures"
DESK, EMPTY = PICTURES / "desk.jpg", PICTURES / "empty.jpg"


def bless(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["models", "bless", *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture
def version(tmp_path: Path) -> Path:
    return shutil.copytree(BUNDLED_MODELS / "codes" / "v1", tmp_path / "codes" / "v1")


def opens(version: Path) -> None:
    open_version(at(version), OnnxFile, 10_000_000)


def test_a_blessed_version_opens_and_one_that_finds_other_boxes_does_not(version: Path) -> None:
    told = bless(version, DESK, EMPTY)
    assert told.exit_code == 0
    assert "qr_code" in told.output
    assert "nothing" in told.output
    opens(version)
    manifest = version / "manifest.yaml"
    manifest.write_text(manifest.read_text() + "input: {resize: stretch}\n")
    with pytest.raises(ModelInvalid, match=r"does not reproduce its golden pictures: desk\.jpg: "):
        opens(version)


def test_the_operating_point_may_change_afterwards(version: Path) -> None:
    bless(version, DESK)
    (version / "manifest.yaml").write_text("options: {confidence_threshold: 0.9, max_detections: 1}")
    opens(version)


def test_what_the_pictures_would_not_notice_is_said(tmp_path: Path) -> None:
    # A model that answers the same whatever it sees.
    tiny_onnx(tmp_path / "model.onnx", boxes=[Box((16, 16, 48, 48))], classes=2, names='["car", "bus"]')
    told = bless(tmp_path, DESK)
    assert told.exit_code == 0
    unnoticed = [line.partition(": ")[2] for line in told.output.splitlines() if line.startswith("Not noticed")]
    assert unnoticed == ["another name for bus", "input.color_order: BGR"]


def test_golden_pictures_are_replaced_only_when_asked(version: Path) -> None:
    assert bless(version, DESK).exit_code == 0
    refused = bless(version, PICTURES / "shelf.jpg")
    assert refused.exit_code == 1
    assert "--replace" in refused.output
    assert set(json.loads((version / "golden" / "expected.json").read_text())["pictures"]) == {"desk.jpg"}
    assert bless("--replace", version, PICTURES / "shelf.jpg").exit_code == 0
    assert sorted(path.name for path in (version / "golden").iterdir()) == ["expected.json", "shelf.jpg"]
    assert sorted(path.name for path in version.iterdir()) == ["golden", "manifest.yaml", "model.onnx"]
    opens(version)


def test_the_pictures_of_the_golden_folder_can_be_blessed_anew(version: Path) -> None:
    assert bless(version, DESK).exit_code == 0
    assert bless("--replace", version, version / "golden" / "desk.jpg").exit_code == 0
    opens(version)


def test_pictures_in_which_nothing_is_found_prove_nothing(version: Path) -> None:
    told = bless(version, EMPTY)
    assert told.exit_code == 1
    assert "nothing is found" in told.output
    assert not (version / "golden").exists()


def test_pictures_of_one_name_are_refused(version: Path, tmp_path: Path) -> None:
    shutil.copyfile(EMPTY, tmp_path / "desk.jpg")
    told = bless(version, DESK, tmp_path / "desk.jpg")
    assert told.exit_code == 2
    assert "desk.jpg" in told.output


def test_a_file_that_is_no_picture_is_refused_by_name(version: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    told = bless(version, DESK, tmp_path / "notes.txt")
    assert told.exit_code == 1
    assert "notes.txt" in told.output
    assert not (version / "golden").exists()
