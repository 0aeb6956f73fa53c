"""What may be said in a manifest, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from detector_grpc.errors import ModelInvalid
from detector_grpc.serving.manifest import Manifest, ManifestInput, ManifestOptions, read_manifest

if TYPE_CHECKING:
    from pathlib import Path


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
    outputs: [boxes]
    input:
      size: [480, 640]
      resize: stretch
      pad_value: 0
      color_order: BGR
      scale: 1
      mean: [103.53, 116.28, 123.675]
      std: [57.375, 57.12, 58.395]
    options:
      confidence_threshold: 0.5
      class_confidence_thresholds: {bus: 0.9}
      iou_threshold: 0.6
      multi_label: true
      class_agnostic_nms: true
      max_detections: 10
    """
    assert read_manifest(written(tmp_path, text)) == Manifest(
        description="a test",
        class_names=("car", "bus"),
        head="xyxy",
        outputs=("boxes",),
        input=ManifestInput(
            size=(480, 640),
            resize="stretch",
            pad_value=0,
            color_order="BGR",
            scale=1.0,
            mean=(103.53, 116.28, 123.675),
            std=(57.375, 57.12, 58.395),
        ),
        options=ManifestOptions(
            confidence_threshold=0.5,
            class_confidence_thresholds={"bus": 0.9},
            iou_threshold=0.6,
            multi_label=True,
            class_agnostic_nms=True,
            max_detections=10,
        ),
    )


def test_every_fault_of_a_manifest_is_named_with_its_place(tmp_path: Path) -> None:
    text = """
    description: [1]
    clas_names: [a]
    class_names: 5
    head: yolo
    outputs: []
    input:
      size: [640, 0]
      resize: letterbox_left
      pad_value: 256
      color_order: GBR
      scale: 0
      mean: [0, 0]
      std: [1, 1, 0]
      dtype: float32
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
        "outputs",
        "input.size.1",
        "input.resize",
        "input.pad_value",
        "input.color_order",
        "input.scale",
        "input.mean.2",
        "input.std.2",
        "input.dtype",
        "options.confidence_threshold",
        "options.class_confidence_thresholds.bus",
        "options.max_detections",
        "options.iou",
    ):
        assert f"{place}: " in message
    assert message.count("; ") == 16


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


def test_a_falsy_document_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    for text in ("[]", "0", "false", "''"):
        with pytest.raises(ModelInvalid):
            read_manifest(written(tmp_path, text))
