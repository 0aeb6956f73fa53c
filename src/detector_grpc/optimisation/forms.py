"""What a version can be made into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from detector_grpc.errors import DetectorError, ModelInvalid
from detector_grpc.optimisation.halves import compute_in_half, store_in_half
from detector_grpc.optimisation.int8 import Feeds, quantise
from detector_grpc.optimisation.slim import slim
from detector_grpc.optimisation.suppression import suppress
from detector_grpc.optimisation.tools import import_onnx
from detector_grpc.serving import graph

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from detector_grpc.serving.spec import ModelSpec

FormName = Literal["slim", "folded", "fp16-stored", "fp16", "int8", "bf16"]

# The input of files that take pictures.
_INPUT = "pictures"


class Form(NamedTuple):
    """How a version can be.

    Attributes:
        summary: For people.
        runs_on: What it is for.
        is_calibrated: Whether pictures are needed to make it.
    """

    summary: str
    runs_on: Literal["CPU", "GPU", "OpenVINO"] = "CPU"
    is_calibrated: bool = False


FORMS: dict[FormName, Form] = {
    "slim": Form("constants computed, nodes joined and dropped"),
    "folded": Form("slim, and takes pictures: uint8, height, width, RGB"),
    "fp16-stored": Form("slim, with weights stored in float16"),
    "fp16": Form("slim, computes in float16", "GPU"),
    "int8": Form("folded, with convolutions in 8 bits", is_calibrated=True),
    "bf16": Form("the same file, computed in bfloat16", "OpenVINO"),
}


class Made(NamedTuple):
    """A model file and what is to be said of it.

    Attributes:
        content: An ONNX file.
        manifest: A complete manifest.
    """

    content: bytes
    manifest: dict[str, Any]


def make(form: FormName, path: Path, spec: ModelSpec, calibration: Sequence[Path], *, nms: bool) -> Made:
    """Makes a form of a version.

    Args:
        form: Which.
        path: The version's model file.
        spec: What the version is.
        calibration: Pictures to measure the ranges of activations on, where the form is calibrated.
        nms: Whether the graph is to suppress by itself.

    Raises:
        ModelInvalid: That cannot be made of this model.
        SetupInvalid: A package is not installed, or a picture for calibration is missing or cannot be used.
    """
    onnx = import_onnx()
    manifest = spec.as_manifest()
    try:
        model = onnx.load(path)
        if nms:
            model = suppress(model, spec)
            manifest |= {"head": "end_to_end", "outputs": [each.name for each in model.graph.output]}
        if form != "bf16":
            model = slim(model)
        if form in ("folded", "int8"):
            model = slim(_fold(model, spec, manifest))
        match form:
            case "fp16-stored":
                model = store_in_half(model)
            case "fp16":
                model = compute_in_half(model)
            case "int8":
                model = quantise(model, Feeds(spec.input, _INPUT, calibration))
    except (DetectorError, OSError):
        raise
    except Exception as error:  # the tools raise everything for operators that they do not know
        raise ModelInvalid(f"{path} cannot be made {form}: {error}") from error
    return Made(model.SerializeToString(), manifest)


def _fold(model: Any, spec: ModelSpec, manifest: dict[str, Any]) -> Any:  # noqa: ANN401 - onnx.ModelProto
    image = spec.input
    folded = graph.fold(model.SerializeToString(), image.name, image.tensor_format, image.hw, _INPUT)
    manifest["input"] |= {"color_order": "RGB", "scale": 1.0, "mean": [0.0] * 3, "std": [1.0] * 3}
    return import_onnx().load_model_from_string(folded)
