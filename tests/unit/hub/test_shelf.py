"""What was brought becomes a version that can be served, or nothing."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.onnx_files import Box, tiny_onnx

from detector_grpc.errors import ModelInvalid
from detector_grpc.hub.shelf import model_name, place, under_way
from detector_grpc.hub.source import PullFailed
from detector_grpc.serving.repository import NAME, scan
from detector_grpc.serving.session import OnnxFile

if TYPE_CHECKING:
    from pathlib import Path


def placed(repository: Path, version: str = "", manifest: str = "", confidence: float = 0.9) -> str:
    with under_way(repository, f"address {confidence}") as folder:
        file = tiny_onnx(folder / "file", boxes=[Box((16, 8, 48, 40), confidence=confidence)])
        return place(folder, file, manifest, (repository, "tiny", version), OnnxFile).version


def names(repository: Path) -> list[str]:
    return sorted(str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file())


def test_versions_are_numbered_after_the_highest_that_there_is(tmp_path: Path) -> None:
    assert placed(tmp_path) == "v1"
    placed(tmp_path, "v9")
    placed(tmp_path, "candidate")
    assert placed(tmp_path, manifest="class_names: [a, b]") == "v10"

    assert names(tmp_path / "tiny") == [
        "candidate/model.onnx", "v1/model.onnx", "v10/manifest.yaml", "v10/model.onnx", "v9/model.onnx",
    ]  # fmt: skip
    assert [source.version for source in scan(tmp_path)] == ["candidate", "v1", "v10", "v9"]


def test_a_version_that_is_there_is_never_touched(tmp_path: Path) -> None:
    placed(tmp_path, "v1")
    before = (tmp_path / "tiny" / "v1" / "model.onnx").read_bytes()

    with pytest.raises(PullFailed, match="tiny v1 is there already"):
        placed(tmp_path, "v1", confidence=0.5)

    assert (tmp_path / "tiny" / "v1" / "model.onnx").read_bytes() == before
    assert names(tmp_path) == ["tiny/v1/model.onnx"]


def test_several_that_come_at_once_get_a_version_each(tmp_path: Path) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda number=number: found.append(placed(tmp_path, confidence=number / 10)))
        for number in range(1, 5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == ["v1", "v2", "v3", "v4"]


def test_one_address_is_brought_by_one_process_at_a_time(tmp_path: Path) -> None:
    with under_way(tmp_path, "a"), under_way(tmp_path, "b"), pytest.raises(PullFailed, match="another process"):  # noqa: SIM117
        with under_way(tmp_path, "a"):
            pass
    assert not list(tmp_path.iterdir())


def test_what_is_on_its_way_is_no_version(tmp_path: Path) -> None:
    with under_way(tmp_path, "a") as folder:
        tiny_onnx(folder / "model.onnx")
        assert scan(tmp_path) == []


def external(path: Path) -> None:
    model = onnx.load(tiny_onnx(path))
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)


def nested_external(path: Path) -> None:
    """A constant in the branch of a condition."""
    model = onnx.load(tiny_onnx(path))
    tensor = onnx.TensorProto(name="w", dims=[1], data_type=1, data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../../../etc/hostname")
    branch = onnx.helper.make_graph([onnx.helper.make_node("Constant", [], ["w"], value=tensor)], "b", [], [])
    model.graph.node.append(onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("write", "manifest", "words"),
    [
        (lambda path: path.write_bytes(b"<html>no model</html>"), "", "no ONNX file"),
        (lambda path: path.write_bytes(b""), "", "ONNX Runtime cannot load it"),
        (external, "", "its weights lie in another file"),
        (nested_external, "", "its weights lie in another file"),
        (tiny_onnx, "class_names: [a, b, c]", "has 3 class names, but there are 2"),
        (tiny_onnx, "class_name: [a, b]", "there is no such key"),
    ],
)
def test_what_cannot_be_served_is_refused_and_leaves_nothing(
    tmp_path: Path, write: object, manifest: str, words: str
) -> None:
    with under_way(tmp_path, "address") as folder:
        write(folder / "file")
        (folder / "weights").unlink(missing_ok=True)
        with pytest.raises(ModelInvalid, match=words) as refused:
            place(folder, folder / "file", manifest, (tmp_path, "tiny", ""), OnnxFile)

    assert names(tmp_path) == []
    assert str(tmp_path) not in str(refused.value)


@given(st.text(max_size=100))
def test_whatever_a_file_is_called_its_model_has_a_name(file: str) -> None:
    assert NAME.fullmatch(model_name(file))


@pytest.mark.parametrize(
    ("file", "name"),
    [("yolox_nano.onnx", "yolox_nano"), ("../../etc/passwd.onnx", "etc-passwd"), ("street v2 (1).onnx", "street-v2-1")],
)
def test_a_model_is_named_as_its_file(file: str, name: str) -> None:
    assert model_name(file) == name
