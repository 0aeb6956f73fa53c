"""Which folders are versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector_grpc.errors import SetupInvalid
from detector_grpc.serving.repository import VersionSource, at, mounted, scan, stored


def add(repository: Path, model: str, version: str) -> Path:
    folder = repository / model / version
    folder.mkdir(parents=True)
    (folder / "model.onnx").touch()
    return folder


def test_versions_are_found_in_order_of_model_and_version(tmp_path: Path) -> None:
    for model, version in (("b", "v1"), ("a", "v2"), ("a", "v1"), ("a", "v10")):
        add(tmp_path, model, version)
    assert [(s.model, s.version) for s in scan(tmp_path)] == [("a", "v1"), ("a", "v10"), ("a", "v2"), ("b", "v1")]


def test_a_version_knows_where_it_comes_from(tmp_path: Path) -> None:
    folder = add(tmp_path, "yolo", "v1")
    expected = VersionSource(
        "yolo", "v1", folder / "model.onnx", folder / "manifest.yaml", folder / "golden", str(folder)
    )
    assert scan(tmp_path) == [expected] == [stored(folder)]


def test_folders_without_a_model_and_files_beside_are_no_versions(tmp_path: Path) -> None:
    add(tmp_path, "yolo", "v1")
    (tmp_path / "yolo" / "v2").mkdir()
    (tmp_path / "yolo" / "labels.txt").touch()
    (tmp_path / "README.md").touch()
    (tmp_path / "bad name!").mkdir()
    (tmp_path / ".git").mkdir()
    assert [s.version for s in scan(tmp_path)] == ["v1"]


def test_an_empty_repository_has_no_versions(tmp_path: Path) -> None:
    assert scan(tmp_path) == []


@pytest.mark.parametrize("bad", ["-v1", ".v1", "v 1", "v1!", "ä", "v" * 64, "v1\n"])
def test_names_that_cannot_be_a_label_are_refused(tmp_path: Path, bad: str) -> None:
    add(tmp_path, "yolo", bad)
    with pytest.raises(SetupInvalid, match="cannot be the name"):
        scan(tmp_path)


@pytest.mark.parametrize("good", ["v1", "1", "2024-05-01", "a.b_c-D", "v" * 63])
def test_usual_names_are_taken(tmp_path: Path, good: str) -> None:
    add(tmp_path, good, good)
    assert [(s.model, s.version) for s in scan(tmp_path)] == [(good, good)]


def test_bad_names_are_all_named(tmp_path: Path) -> None:
    first, second = add(tmp_path, "bad model", "v1"), add(tmp_path, "yolo", "bad version")
    add(tmp_path, "yolo", "v1")
    with pytest.raises(SetupInvalid) as caught:
        scan(tmp_path)
    assert [fault.split(":")[0] for fault in caught.value.faults] == [str(first), str(second)]
    assert '"bad model"' in caught.value.faults[0]
    assert '"bad version"' in caught.value.faults[1]


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_a_repository_that_cannot_be_read_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "repository"
    if kind == "a file":
        path.touch()
    with pytest.raises(SetupInvalid, match=f"cannot read the model repository {path}: "):
        scan(path)


def test_a_folder_that_may_not_be_read_is_the_operators_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # By patching: the tests may run as root, who may read everything.
    add(tmp_path, "yolo", "v1")
    plain = Path.iterdir

    def refuse(path: Path) -> object:
        if path.name == "yolo":
            raise PermissionError(13, "Permission denied")
        return plain(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(SetupInvalid, match="Permission denied"):
        scan(tmp_path)


def test_a_mounted_file_has_its_manifest_and_golden_pictures_beside_it() -> None:
    file = Path("/app/models/yolov9_v2.onnx")
    manifest, golden = Path("/app/models/yolov9_v2.yaml"), Path("/app/models/yolov9_v2.golden")
    assert mounted("yolo", "v2", file, "MODEL_V2_PATH") == VersionSource(
        "yolo", "v2", file, manifest, golden, "MODEL_V2_PATH"
    )


def test_what_belongs_to_a_file_that_is_a_link_lies_beside_the_link(tmp_path: Path) -> None:
    (tmp_path / "stored").write_bytes(b"")
    folder = add(tmp_path, "yolo", "v1")
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(tmp_path / "stored")
    (tmp_path / "lone.onnx").symlink_to(tmp_path / "stored")
    assert at(folder / "model.onnx") == at(folder)
    assert at(folder).manifest_path == folder / "manifest.yaml"
    assert at(tmp_path / "lone.onnx").manifest_path == tmp_path / "lone.yaml"
