"""A newcomer gets all that there is to try by one command, or is told what is missing.

The model is not part of the project; it lies in `shared/data` beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from click.testing import CliRunner, Result
from support.origin import origin
from support.reference import DATA, MODELS

from detector_grpc.cli import main
from detector_grpc.drift import reference_file
from detector_grpc.drift.reference import NEEDED
from detector_grpc.serving.repository import scan

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the model is not beside the project")


def setup(folder: Path, *names: str, mirror: str = MODELS.as_uri()) -> Result:
    environment = {
        "DETECTOR_MODELS_REPOSITORY": str(folder / "models"),
        "DETECTOR_MODELS_MIRROR": mirror,
        "NO_PROXY": "127.0.0.1",
    }
    command = ["models", "setup", *names, "--data", str(folder / "data"), "--retries", "0"]
    return CliRunner().invoke(main, command, env=environment)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """What one version becomes; the second takes as long again."""
    folder = tmp_path_factory.mktemp("setup")
    return folder, setup(folder, "yolox-nano")


def test_versions_are_there_and_find_what_is_in_the_pictures(done: tuple[Path, Result]) -> None:
    folder, told = done

    assert told.exit_code == 0, told.output
    assert [(each.model, each.version) for each in scan(folder / "models")] == [("coco", "v1")]
    rows = {line.split("│")[1].strip(): line for line in told.output.splitlines() if ".jpg" in line}
    assert {name: name.removesuffix(".jpg") in row.split("│")[2] for name, row in rows.items()} == {
        "cat.jpg": True,
        "cup.jpg": True,
        "person.jpg": True,
    }
    assert sorted(path.name for path in (folder / "data" / "pictures").glob("*.jpg")) == sorted(rows)


def test_the_reference_is_one_of_these_versions_that_drift_takes(done: tuple[Path, Result]) -> None:
    folder, _ = done

    (kept,) = reference_file.read(folder / "data" / "reference_features.json", NEEDED)

    assert kept.watched == ("coco", "v1")
    assert kept.digest == "sha256:695e750a5d5754bb5a8d5325643b59282191a7e7a564e435a415fd3c578eab14"
    assert kept.reference.timeless
    assert kept.reference.blocks[0].classes.keys() >= {"person", "cat", "cup"}


def test_what_is_there_stays_and_what_it_does_not_find_is_a_fault(done: tuple[Path, Result]) -> None:
    folder, _ = done
    manifest, reference = (
        folder / "models" / "coco" / "v1" / "manifest.yaml",
        folder / "data" / "reference_features.json",
    )
    said = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    manifest.write_text(yaml.safe_dump(said | {"options": {"confidence_threshold": 0.8}}), encoding="utf-8")
    before = reference.stat()

    told = setup(folder, "yolox-nano")

    assert told.exit_code == 1
    assert "something was not found that is in the pictures" in told.output  # the cat
    assert reference.stat() == before


def test_without_a_network_is_told_which_file_to_bring(tmp_path: Path) -> None:
    with origin(b"") as gone:
        pass

    told = setup(tmp_path, mirror=gone.url)

    assert told.exit_code == 1
    assert "bring yolox_nano.onnx from a machine that has one" in told.output


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pictures").write_bytes(b"")

    told = setup(tmp_path, "yolox-nano")

    assert told.exit_code == 1
    assert f"cannot write into {tmp_path / 'data'}: File exists" in told.output
