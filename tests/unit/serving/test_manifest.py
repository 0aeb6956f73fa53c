"""What a version is: the manifest before the file's own metadata before the defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from detector_grpc.errors import ModelInvalid
from detector_grpc.serving.manifest import Manifest, read_manifest, resolve
from detector_grpc.serving.options import DetectOptions
from detector_grpc.serving.session import Signature

if TYPE_CHECKING:
    from pathlib import Path


def signature(metadata: dict[str, str] | None = None, *shapes: tuple[int, ...]) -> Signature:
    return Signature((32, 48), shapes or ((1, 6, 21),), metadata or {}, "sha256:0", "CPUExecutionProvider")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "manifest.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_that_is_not_there_is_an_empty_manifest(tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "manifest.yaml") == Manifest()


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"])
def test_an_empty_file_is_an_empty_manifest(tmp_path: Path, text: str) -> None:
    assert read_manifest(written(tmp_path, text)) == Manifest()


def test_every_key_is_read(tmp_path: Path) -> None:
    text = """
    description: a test
    class_names: [car, bus]
    head: xyxy
    letterbox: topleft
    options:
      confidence_threshold: 0.5
      class_confidence_thresholds: {bus: 0.9}
      iou_threshold: 0.6
      multi_label: true
      class_agnostic_nms: true
      max_detections: 10
    """
    spec = resolve(read_manifest(written(tmp_path, text)), signature())
    assert spec.class_names == ("car", "bus")
    assert spec.head == "xyxy"
    assert spec.letterbox == "topleft"
    assert spec.input_hw == (32, 48)
    assert spec.options == DetectOptions(0.5, 0.6, True, True, 10, {"bus": 0.9})  # noqa: FBT003 - in order of fields


def test_every_fault_of_a_manifest_is_named_with_its_place(tmp_path: Path) -> None:
    text = """
    description: [1]
    clas_names: [a]
    class_names: 5
    head: yolox
    letterbox: left
    options:
      confidence_threshold: 1.5
      class_confidence_thresholds: {bus: -1}
      max_detections: 0
      iou: 0.5
    """
    path = written(tmp_path, text)
    with pytest.raises(ModelInvalid) as caught:
        read_manifest(path)
    message = caught.value.message
    assert message.startswith(f"{path}: ")
    for place in (
        "description",
        "clas_names",
        "class_names",
        "head",
        "letterbox",
        "options.confidence_threshold",
        "options.class_confidence_thresholds.bus",
        "options.max_detections",
        "options.iou",
    ):
        assert f"{place}: " in message
    assert message.count("; ") == 8


def test_most_detections_have_a_limit(tmp_path: Path) -> None:
    assert read_manifest(written(tmp_path, "options: {max_detections: 1000}")).options.max_detections == 1000
    with pytest.raises(ModelInvalid, match=r"options\.max_detections"):
        read_manifest(written(tmp_path, "options: {max_detections: 1001}"))


@pytest.mark.parametrize(
    "content",
    [b"a: [", b"\t", b"\xff\xfe\xfa", b"released: 2024-13-45", b"- a\n- b", b"just text"],
    ids=["broken", "tab", "no UTF-8", "no date", "a list", "text"],
)
def test_a_file_that_is_no_manifest_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "manifest.yaml"
    path.write_bytes(content)
    with pytest.raises(ModelInvalid) as caught:
        read_manifest(path)
    assert caught.value.message.startswith(f"{path}: ")


def test_a_folder_in_the_manifests_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").mkdir()
    with pytest.raises(ModelInvalid, match="cannot be read"):
        read_manifest(tmp_path / "manifest.yaml")


def test_what_nobody_says_has_a_default() -> None:
    spec = resolve(Manifest(), signature())
    assert spec.class_names == ("class_0", "class_1")
    assert spec.head == "cxcywh"
    assert spec.letterbox == "center"
    assert spec.options == DetectOptions()


@pytest.mark.parametrize(
    "text",
    ['{"0": "car", "1": "bus"}', '["car", "bus"]', "{0: 'car', 1: 'bus'}", "{1: 'bus', 0: 'car'}", "['car', 'bus']"],
)
def test_names_are_read_as_json_and_as_text_of_python(text: str) -> None:
    assert resolve(Manifest(), signature({"names": text})).class_names == ("car", "bus")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "car, bus",
        "5",
        "{0: 'car'",
        "{0: 'car', 2: 'bus'}",
        "{'a': 'car', 'b': 'bus'}",
        "__import__('os')",
        "(" * 5000,
        "[" * 100_000,
        "{[]: 1}",
        "null",
    ],
    ids=str.__len__,
)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_names_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ModelInvalid, match="set class_names"):
        resolve(Manifest(), signature({"names": text}))


def test_names_of_the_manifest_come_before_those_of_the_file() -> None:
    manifest = Manifest(class_names=("a", "b"))
    assert resolve(manifest, signature({"names": "no list"})).class_names == ("a", "b")


@pytest.mark.parametrize(
    ("manifest", "metadata", "source"),
    [
        (Manifest(class_names=("a", "b", "c")), {}, "manifest.yaml"),
        (Manifest(), {"names": '["a", "b", "c"]'}, "the metadata of the ONNX file"),
    ],
)
def test_names_must_be_as_many_as_classes(manifest: Manifest, metadata: dict[str, str], source: str) -> None:
    with pytest.raises(ModelInvalid, match=f"^{source} has 3 class names, the output has 2 classes$"):
        resolve(manifest, signature(metadata))


def test_names_must_differ() -> None:
    with pytest.raises(ModelInvalid, match=r"more than once: \['a'\]"):
        resolve(Manifest(class_names=("a", "a")), signature())


def test_thresholds_of_classes_that_do_not_exist_are_all_named() -> None:
    manifest = Manifest.model_validate({"options": {"class_confidence_thresholds": {"z": 0.5, "y": 0.5}}})
    with pytest.raises(ModelInvalid, match=r"\['y', 'z'\]"):
        resolve(manifest, signature())


def test_head_and_letterbox_come_from_the_metadata_unless_the_manifest_says_otherwise() -> None:
    metadata = {"model_family": "yolo9", "letterbox_pad": "topleft"}
    spec = resolve(Manifest(), signature(metadata))
    assert (spec.head, spec.letterbox) == ("xyxy", "topleft")
    overridden = resolve(Manifest(head="cxcywh", letterbox="center"), signature(metadata))
    assert (overridden.head, overridden.letterbox) == ("cxcywh", "center")
    other = resolve(Manifest(), signature({"model_family": "yolo8", "letterbox_pad": "middle"}))
    assert (other.head, other.letterbox) == ("cxcywh", "center")


@pytest.mark.parametrize(
    "shape", [(1, 6), (2, 6, 21), (1, 4, 21), (1, 21, 6), (1, 6, 6), (6, 21)], ids=lambda shape: str(list(shape))
)
def test_an_output_of_another_layout_is_refused_and_shown(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelInvalid) as caught:
        resolve(Manifest(), signature({}, shape))
    assert str(list(shape)) in caught.value.message


def test_a_falsy_document_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    for text in ("[]", "0", "false", "''"):
        with pytest.raises(ModelInvalid):
            read_manifest(written(tmp_path, text))
