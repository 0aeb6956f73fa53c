"""Which folders are versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from detector_grpc.errors import InvalidRequest, ModelInvalid, SetupInvalid, VersionNotFound
from detector_grpc.serving.repository import Sources, VersionSource, at, mounted, scan, stored


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
        "yolo", "v2", file, manifest, golden, "MODEL_V2_PATH", ("yolov9_v2.*", "yolov9_v2.golden/*")
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


class TestSources:
    """All places that versions come from."""

    def test_are_repositories_and_mounts_and_defaults_that_exist(self, tmp_path: Path) -> None:
        add(tmp_path / "a", "yolo", "v3")
        add(tmp_path / "b", "codes", "v1")
        there, absent = tmp_path / "there.onnx", tmp_path / "absent.onnx"
        there.touch()
        sources = Sources(
            [tmp_path / "a", tmp_path / "b"],
            mounts=[mounted("yolo", "v1", absent, "MODEL_V1_PATH")],
            defaults=[mounted("yolo", "v2", there, "default"), mounted("yolo", "v4", absent, "default")],
        )
        found = sources.scan()
        assert sorted((s.model, s.version) for s in found) == [
            ("codes", "v1"),
            ("yolo", "v1"),
            ("yolo", "v2"),
            ("yolo", "v3"),
        ]
        assert all(sources.find(source.model, source.version) == source for source in found)
        with pytest.raises(VersionNotFound):
            sources.find("yolo", "v4")
        absent.touch()
        assert sources.find("yolo", "v4").path == absent

    def test_count_only_versions_that_are_wanted(self, tmp_path: Path) -> None:
        for version in ("v1", "v2"):
            add(tmp_path, "yolo", version)
        there = tmp_path / "there.onnx"
        there.touch()
        sources = Sources([tmp_path], mounts=[mounted("yolo", "v1", there, "MODEL_V1_PATH")], versions=("v2",))
        assert [source.version for source in sources.scan()] == ["v2"]
        assert sources.find("yolo", "v2").version == "v2"

    def test_see_what_has_come_and_what_has_gone(self, tmp_path: Path) -> None:
        sources = Sources([tmp_path])
        with pytest.raises(VersionNotFound) as caught:
            sources.find("yolo", "v1")
        assert str(tmp_path / "yolo" / "v1" / "model.onnx") in caught.value.message
        folder = add(tmp_path, "yolo", "v1")
        assert sources.find("yolo", "v1").origin == str(folder)
        (folder / "model.onnx").unlink()
        with pytest.raises(VersionNotFound):
            sources.find("yolo", "v1")

    def test_without_a_repository_say_so(self) -> None:
        with pytest.raises(VersionNotFound, match="no model repository is configured"):
            Sources().find("yolo", "v1")

    def test_name_a_version_that_is_in_two_places(self, tmp_path: Path) -> None:
        folder = add(tmp_path, "yolo", "v1")
        sources = Sources([tmp_path], mounts=[mounted("yolo", "v1", tmp_path / "x.onnx", "MODEL_V1_PATH")])
        with pytest.raises(SetupInvalid) as caught:
            sources.scan()
        assert caught.value.message == f"yolo v1 is named twice, by {folder} and MODEL_V1_PATH"

    @pytest.mark.parametrize("bad", ["", ".", "..", "../..", "../yolo", "/", "a/b", "v1/", "v1\0", "v1\n", "v" * 64])
    def test_look_for_nothing_whose_name_is_none(
        self, tmp_path: Path, bad: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def look(path: Path) -> bool:
            raise AssertionError(path)

        add(tmp_path, "yolo", "v1")
        for names, field in (((bad, "v1"), "model"), (("yolo", bad), "version")):
            with monkeypatch.context() as patch:
                patch.setattr(Path, "exists", look)
                with pytest.raises(InvalidRequest) as caught:
                    Sources([tmp_path / "yolo"]).find(*names)
            assert [violation.field for violation in caught.value.violations] == [field]

    def test_say_which_folder_may_not_be_looked_into(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # By patching: the tests may run as root, who may look into everything.
        def refuse(_: Path) -> bool:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "exists", refuse)
        with pytest.raises(ModelInvalid, match=f"{tmp_path / 'yolo' / 'v1'}: cannot be looked into: Permission denied"):
            Sources([tmp_path]).find("yolo", "v1")


class TestStamp:
    """What tells that a version has changed."""

    def test_is_the_same_while_nothing_happens(self, tmp_path: Path) -> None:
        add(tmp_path, "yolo", "v1")
        source = Sources([tmp_path]).find("yolo", "v1")
        assert source.stamp() == source.stamp() != ()

    @pytest.mark.parametrize("name", ["model.onnx", "manifest.yaml", "model.onnx.data", "deep/er/file"])
    def test_is_another_once_any_file_has_changed(self, tmp_path: Path, name: str) -> None:
        path = add(tmp_path, "yolo", "v1") / name
        source = Sources([tmp_path]).find("yolo", "v1")
        path.parent.mkdir(parents=True, exist_ok=True)
        before = source.stamp()
        path.write_text("other")
        assert source.stamp() != before

    def test_is_another_though_a_copy_keeps_size_and_time(self, tmp_path: Path) -> None:
        path = add(tmp_path, "yolo", "v1") / "model.onnx"
        path.write_text("one")
        source, state = Sources([tmp_path]).find("yolo", "v1"), path.stat()
        before = source.stamp()
        path.write_text("two")
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert source.stamp() != before

    def test_of_a_mount_is_that_of_its_own_files_only(self, tmp_path: Path) -> None:
        source = mounted("yolo", "v1", tmp_path / "a[1].onnx", "MODEL_V1_PATH")
        source.path.touch()
        before = source.stamp()
        for name in ("b.onnx", "a1.yaml", "a[1]b.onnx"):
            (tmp_path / name).touch()
        assert source.stamp() == before
        source.manifest_path.touch()
        assert source.stamp() != before

    def test_leaves_out_a_link_to_nowhere(self, tmp_path: Path) -> None:
        (add(tmp_path, "yolo", "v1") / "link").symlink_to("nowhere")
        assert [name for name, *_ in Sources([tmp_path]).find("yolo", "v1").stamp()] == ["model.onnx"]
