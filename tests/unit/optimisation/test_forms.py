"""What versions are made into finds what they found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.parser
import pytest
import yaml
from support.scenes import SCENES
from support.surgery import GRAFTS

from detector_grpc.errors import ModelInvalid, SetupInvalid
from detector_grpc.optimisation.forms import make
from detector_grpc.optimisation.halves import store_in_half
from detector_grpc.optimisation.int8 import quantise
from detector_grpc.serving import repository
from detector_grpc.serving.manifest import read_manifest
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage
from detector_grpc.serving.registry import read_version
from detector_grpc.serving.session import OnnxFile
from detector_grpc.serving.spec import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from support.surgery import Graft

    from detector_grpc.optimisation.forms import FormName
    from detector_grpc.vision.detections import Detections

PICTURES = sorted(SCENES.glob("*.jpg"))
DENSE = [graft for graft in GRAFTS if graft.head in ("cxcywh", "xyxy", "yolov5", "yolox")]
FINAL = next(graft for graft in GRAFTS if graft.head == "end_to_end")

# One convolution for each role: usual, one channel each, last.
ROLES = """<ir_version: 7, opset_import: ["": 13]>
roles (float[1, 3, 8, 8] images) => (float[1, 2, 8, 8] out) {
    first = Conv <pads = [1, 1, 1, 1]> (images, usual)
    second = Conv <group = 4, pads = [1, 1, 1, 1]> (first, depthwise)
    out = Conv (second, last)
}"""
WEIGHTS = {"usual": (4, 3, 3, 3), "depthwise": (4, 1, 3, 3), "last": (2, 4, 1, 1)}


@pytest.fixture
def graft(tmp_path: Path) -> Callable[..., Path]:
    def write(graft: Graft, **options: object) -> Path:
        folder = tmp_path / "m" / "original"
        graft.write(folder)
        manifest = yaml.safe_load((folder / "manifest.yaml").read_text())
        (folder / "manifest.yaml").write_text(yaml.safe_dump({**manifest, "options": options}))
        return folder

    return write


def made(form: FormName, original: Path, *, nms: bool = False) -> Path:
    """The folder of a form of a version, beside it."""
    source = repository.stored(original)
    spec = resolve(read_manifest(source.manifest_path), OnnxFile(source.path))
    result = make(form, source.path, spec, PICTURES, nms=nms)
    folder = original.with_name(f"{form}-made")
    folder.mkdir()
    (folder / "model.onnx").write_bytes(result.content)
    (folder / "manifest.yaml").write_text(yaml.safe_dump(result.manifest))
    return folder


def found(folder: Path) -> list[Detections]:
    """What a version finds in the bundled pictures, sure or not."""
    pipeline = read_version(repository.stored(folder), OnnxFile, 2**24).pipeline
    asked = RequestedOptions(confidence_threshold=0.05)
    return [pipeline.detect(EncodedImage(path.read_bytes()), asked).detections for path in PICTURES]


def assert_the_same(found: list[Detections], expected: list[Detections], tolerance_px: float) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.class_id, other.class_id)
        np.testing.assert_allclose(one.confidence, other.confidence, atol=0.002)
        np.testing.assert_allclose(one.xyxy, other.xyxy, atol=tolerance_px)
    assert sum(map(len, expected)) > 3


@pytest.mark.parametrize("form", ["slim", "folded", "fp16-stored"])
def test_the_same_is_found(form: FormName, graft: Callable[..., Path]) -> None:
    original = graft(DENSE[0])
    assert_the_same(found(made(form, original)), found(original), 0.5)


@pytest.mark.parametrize("competing", ["all", "class"])
@pytest.mark.parametrize("kind", DENSE, ids=lambda kind: kind.name)
def test_what_the_graph_suppresses_is_what_the_server_would(
    kind: Graft, competing: str, graft: Callable[..., Path]
) -> None:
    agnostic = competing == "all"
    original = graft(kind, class_agnostic_nms=agnostic, multi_label=not agnostic, iou_threshold=0.5)
    new = made("slim", original, nms=True)
    assert read_manifest(new / "manifest.yaml").head == "end_to_end"
    assert_the_same(found(new), found(original), 0.01)


def test_what_is_final_is_not_suppressed_again(graft: Callable[..., Path]) -> None:
    with pytest.raises(ModelInvalid, match="nothing to suppress"):
        made("slim", graft(FINAL), nms=True)


def test_a_folded_file_takes_pictures(graft: Callable[..., Path]) -> None:
    new = made("folded", graft(DENSE[0]))
    (taken,) = OnnxFile(new / "model.onnx").signature.inputs
    assert (taken.dtype, taken.shape[1:]) == ("uint8", (256, 256, 3))


def test_weights_stored_in_half_take_half_the_room(graft: Callable[..., Path]) -> None:
    original = graft(DENSE[0])
    slim, half = ((made(form, original) / "model.onnx").stat().st_size for form in ("slim", "fp16-stored"))
    assert 0.5 < half / slim < 0.6


def test_weights_that_half_precision_does_not_reach_stay() -> None:
    model = network({"usual": np.full((400, 3, 1, 1), 1e5, np.float32)}, "out = Conv (images, usual)", 400)
    assert [each.op_type for each in store_in_half(model).graph.node] == ["Conv"]
    model = network({"usual": np.full((400, 3, 1, 1), 6e4, np.float32)}, "out = Conv (images, usual)", 400)
    assert [each.op_type for each in store_in_half(model).graph.node] == ["Cast", "Conv"]


def test_the_last_convolutions_and_those_of_single_channels_are_not_quantised() -> None:
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(ROLES)
    for name, shape in WEIGHTS.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))

    class Pictures:
        left = iter([{"images": rng.normal(size=(1, 3, 8, 8)).astype(np.float32)}])

        def get_next(self) -> Mapping[str, Any] | None:
            return next(self.left, None)

    graph = quantise(model, Pictures()).graph
    int8 = {
        each.name.removesuffix("_quantized") for each in graph.initializer if each.data_type == onnx.TensorProto.INT8
    }
    assert int8 & WEIGHTS.keys() == {"usual"}


def test_a_picture_that_cannot_be_read_is_named(graft: Callable[..., Path], tmp_path: Path) -> None:
    source = repository.stored(graft(DENSE[0]))
    spec = resolve(read_manifest(source.manifest_path), OnnxFile(source.path))
    (tmp_path / "text.jpg").write_bytes(b"text")
    with pytest.raises(SetupInvalid, match=r"cannot calibrate with .*text\.jpg"):
        make("int8", source.path, spec, [tmp_path / "text.jpg"], nms=False)


def test_operators_that_the_runtime_lacks_are_named(tmp_path: Path, graft: Callable[..., Path]) -> None:
    source = repository.stored(graft(DENSE[0]))
    spec = resolve(read_manifest(source.manifest_path), OnnxFile(source.path))
    model = onnx.load(source.path)
    model.graph.node[0].op_type = "Unheard"
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ModelInvalid, match="Unheard"):
        make("slim", tmp_path / "model.onnx", spec, [], nms=False)


def network(weights: Mapping[str, np.ndarray], body: str, channels: int) -> onnx.ModelProto:
    model = onnx.parser.parse_model(
        '<ir_version: 7, opset_import: ["": 13]>'
        f"network (float[1, 3, 8, 8] images) => (float[1, {channels}, 8, 8] out) {{{body}}}"
    )
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in weights.items())
    return model
