"""What a version is: the manifest before the file's own metadata before what its shapes admit."""

from __future__ import annotations

import numpy as np
import pytest
from support.sessions import IMAGE, FakeSession

from detector_grpc.errors import InferenceFailed, ModelInvalid
from detector_grpc.serving.inputs import ImageInput
from detector_grpc.serving.layouts import Layout
from detector_grpc.serving.manifest import Manifest
from detector_grpc.serving.options import DetectOptions
from detector_grpc.serving.session import TensorInfo
from detector_grpc.serving.spec import ModelSpec, resolve
from detector_grpc.vision.tensor import TensorFormat

YOLOX = {"output": np.zeros((1, 84, 8), np.float32)}  # 84 cells of 64 x 64 px, three classes


def resolved(manifest: dict[str, object] | None = None, **session: object) -> ModelSpec:
    return resolve(Manifest.model_validate(manifest or {}), FakeSession(**session))


def refusal(manifest: dict[str, object] | None = None, **session: object) -> str:
    with pytest.raises(ModelInvalid) as caught:
        resolved(manifest, **session)
    return caught.value.message


def test_what_nobody_says_is_what_yolo_exports_are_trained_with() -> None:
    spec = resolved()
    assert spec.class_names == ("class_0", "class_1")
    assert spec.layout == Layout("cxcywh", ("output0",), classes=2)
    assert spec.input == ImageInput("images", (64, 64), "letterbox", 114, TensorFormat())
    assert spec.options == DetectOptions()


def test_everything_in_the_manifest_is_taken() -> None:
    spec = resolved(
        {
            "class_names": ["car", "bus"],
            "head": "xyxy",
            "input": {
                "size": [64, 64],
                "resize": "stretch",
                "pad_value": 0,
                "color_order": "BGR",
                "scale": 0.5,
                "mean": [1, 2, 3],
                "std": [4, 5, 6],
            },
            "options": {"confidence_threshold": 0.5, "class_confidence_thresholds": {"bus": 0.9}, "iou_threshold": 0.6},
        }
    )
    assert spec.class_names == ("car", "bus")
    assert spec.layout.head == "xyxy"
    tensor_format = TensorFormat("float32", "NCHW", "BGR", 0.5, (1, 2, 3), (4, 5, 6))
    assert spec.input == ImageInput("images", (64, 64), "stretch", 0, tensor_format)
    assert spec.options == DetectOptions(0.5, 0.6, class_confidence_thresholds={"bus": 0.9})


def test_each_conclusion_has_its_reason() -> None:
    metadata = {"names": '["car", "bus"]', "letterbox_pad": "topleft", "model_family": "yolo9"}
    manifest = {"input": {"pad_value": 0}, "options": {"iou_threshold": 0.5}}
    reasons = resolved(manifest, metadata=metadata).reasons
    assert reasons == {
        "class_names": "the metadata of the ONNX file",
        "head": "metadata model_family: yolo9, and the shapes of output0 [1, 6, 21]",
        "outputs": "read by xyxy",
        "input.size": "the input's shape",
        "input.resize": "metadata letterbox_pad: topleft",
        "input.pad_value": "manifest.yaml",
        "input.color_order": "metadata model_family: yolo9",
        "input.scale": "metadata model_family: yolo9",
        "input.mean": "metadata model_family: yolo9",
        "input.std": "metadata model_family: yolo9",
        "options.confidence_threshold": "default",
        "options.class_confidence_thresholds": "default",
        "options.iou_threshold": "manifest.yaml",
        "options.multi_label": "default",
        "options.class_agnostic_nms": "default",
        "options.max_detections": "default",
    }


def test_all_of_it_as_a_manifest_concludes_the_same() -> None:
    spec = resolved({"options": {"iou_threshold": 0.5}}, metadata={"letterbox_pad": "topleft", "model_family": "yolo9"})
    again = resolved(spec.as_manifest())
    assert again.as_manifest() == spec.as_manifest()
    assert (again.input, again.layout, again.options) == (spec.input, spec.layout, spec.options)
    assert set(again.reasons.values()) == {"manifest.yaml"}


def test_the_usual_preprocessing_is_that_of_the_heads_family() -> None:
    yolox = resolved({"head": "yolox"}, outputs=YOLOX).input
    assert (yolox.resize, yolox.tensor_format.color_order, yolox.tensor_format.scale) == ("letterbox_topleft", "BGR", 1)
    detr = {"boxes": np.zeros((1, 9, 4), np.float32), "logits": np.zeros((1, 9, 2), np.float32)}
    assert resolved({"class_names": ["car", "bus"]}, outputs=detr).input.resize == "stretch"


def test_the_family_in_the_metadata_comes_before_what_is_usual_for_the_head() -> None:
    names = '["car", "bus", "van"]'
    yolox = resolved(outputs=YOLOX, metadata={"model_family": "yolox", "names": names})
    assert yolox.layout.head == "yolov5"  # libreyolo decodes in the graph; what the shape admits leaves it open
    assert (yolox.input.resize, yolox.input.tensor_format.color_order) == ("letterbox_topleft", "BGR")
    assert yolox.reasons["input.scale"] == "metadata model_family: yolox"
    corners = resolved(metadata={"model_family": "rtmdet"})
    assert corners.layout.head == "xyxy"
    assert corners.input.tensor_format == TensorFormat(
        color_order="BGR", mean=(0.406, 0.456, 0.485), std=(0.225, 0.224, 0.229)
    )
    assert resolved({"head": "cxcywh"}, metadata={"model_family": "rtmdet"}).layout.head == "cxcywh"


@pytest.mark.parametrize(
    ("pad", "resize"), [("topleft", "letterbox_topleft"), ("center", "letterbox"), ("middle", "letterbox")]
)
def test_the_metadata_says_where_the_letterbox_pads(pad: str, resize: str) -> None:
    assert resolved(metadata={"letterbox_pad": pad}).input.resize == resize
    assert resolved({"input": {"resize": "stretch"}}, metadata={"letterbox_pad": pad}).input.resize == "stretch"


@pytest.mark.parametrize(("family", "head"), [("yolo9", "xyxy"), ("yolo8", "cxcywh")])
def test_the_metadata_says_whether_rows_are_corners_unless_the_manifest_does(family: str, head: str) -> None:
    metadata = {"model_family": family}
    assert resolved(metadata=metadata).layout.head == head
    assert resolved({"head": "cxcywh"}, metadata=metadata).layout.head == "cxcywh"


@pytest.mark.parametrize(
    "text",
    ['{"0": "car", "1": "bus"}', '["car", "bus"]', "{0: 'car', 1: 'bus'}", "{1: 'bus', 0: 'car'}", "['car', 'bus']"],
)
def test_names_are_read_as_json_and_as_text_of_python(text: str) -> None:
    assert resolved(metadata={"names": text}).class_names == ("car", "bus")


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
    assert "set class_names" in refusal(metadata={"names": text})


def test_names_of_the_manifest_come_before_those_of_the_file() -> None:
    assert resolved({"class_names": ["a", "b"]}, metadata={"names": "no list"}).class_names == ("a", "b")


@pytest.mark.parametrize(
    ("manifest", "metadata", "source"),
    [
        ({"class_names": ["a", "b", "c"]}, {}, "manifest.yaml"),
        ({}, {"names": '["a", "b", "c"]'}, "the metadata of the ONNX file"),
    ],
)
def test_names_must_be_as_many_as_classes(manifest: dict[str, object], metadata: dict[str, str], source: str) -> None:
    message = refusal(manifest, metadata=metadata)
    assert message == f"{source} has 3 class names, but there are 2 classes in output0 [1, 6, 21]"


def test_names_must_differ() -> None:
    assert "more than once: ['a']" in refusal({"class_names": ["a", "a"]})


def test_outputs_that_do_not_tell_the_number_of_classes_need_names() -> None:
    rows = {"output0": np.zeros((1, 9, 6), np.float32)}
    assert "set class_names" in refusal(outputs=rows)
    assert resolved({"class_names": ["a"]}, outputs=rows).class_names == ("a",)


def test_thresholds_of_classes_that_do_not_exist_are_all_named() -> None:
    options = {"class_confidence_thresholds": {"z": 0.5, "y": 0.5}}
    assert "['y', 'z']" in refusal({"options": options})


def test_outputs_that_the_manifest_names_are_the_only_ones_looked_at() -> None:
    two = {"coarse": np.zeros((1, 6, 21), np.float32), "fine": np.zeros((1, 7, 84), np.float32)}
    assert "`head` in manifest.yaml" in refusal(outputs=two)
    assert resolved({"outputs": ["fine"]}, outputs=two).layout == Layout("cxcywh", ("fine",), classes=3)
    assert "`outputs` names ['fin']; the outputs are coarse" in refusal({"outputs": ["fin"]}, outputs=two)


def test_a_model_that_cannot_be_run_is_refused_with_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    session = FakeSession()

    def fail(*_: object) -> list[np.ndarray]:
        raise InferenceFailed from RuntimeError("no kernel")

    monkeypatch.setattr(session, "run", fail)
    with pytest.raises(ModelInvalid, match="cannot be run on a blank picture: no kernel"):
        resolve(Manifest(), session)


def test_samples_of_8_bits_go_in_as_they_are() -> None:
    inputs = [TensorInfo("images", "uint8", (1, 64, 64, 3))]
    spec = resolved(inputs=inputs)
    assert spec.input.tensor_format == TensorFormat("uint8", "NHWC", "RGB", 1.0)
    assert spec.reasons["input.scale"] == "the input is uint8"
    assert "the input is uint8" in refusal({"input": {"scale": 0.5}}, inputs=inputs)
    assert "the input is uint8" in refusal({"input": {"mean": [1, 1, 1]}}, inputs=inputs)


def test_the_blank_picture_has_the_type_order_and_size_of_the_input() -> None:
    size = TensorInfo("orig_target_sizes", "int64", (None, 2))
    session = FakeSession(inputs=[TensorInfo("images", "float16", (None, None, None, 3)), size])
    resolve(Manifest.model_validate({"input": {"size": [32, 48]}}), session)
    assert session.fed[0]["images"].shape == (1, 32, 48, 3)
    assert session.fed[0]["images"].dtype == np.float16
    np.testing.assert_array_equal(session.fed[0]["orig_target_sizes"], [[48, 32]])
    assert IMAGE.name in session.fed[0]
