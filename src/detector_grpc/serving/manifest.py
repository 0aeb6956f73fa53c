"""What a model version is: read from its `manifest.yaml`, the rest from the ONNX file itself."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detector_grpc.errors import ModelInvalid
from detector_grpc.serving.options import MAX_DETECTIONS, DetectOptions
from detector_grpc.vision.heads import BOX_ROWS, HeadName
from detector_grpc.vision.letterbox import Alignment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from detector_grpc.serving.session import Signature

Probability = Annotated[float, Field(ge=0, le=1)]


class ManifestOptions(BaseModel):
    """The version's operating point. Every key is optional; unset means the default of DetectOptions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence_threshold: Probability | None = None
    class_confidence_thresholds: dict[str, Probability] = {}
    iou_threshold: Probability | None = None
    multi_label: bool | None = None
    class_agnostic_nms: bool | None = None
    max_detections: Annotated[int, Field(ge=1, le=MAX_DETECTIONS)] | None = None


class Manifest(BaseModel):
    """A `manifest.yaml`. Every key is optional; what is unset is read from the ONNX file.

    Attributes:
        description: For people.
        class_names: By class_id.
        head: Layout of the output.
        letterbox: Where the picture lies in the input, the padding being on both sides or right and below.
        options: The version's operating point.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    class_names: tuple[str, ...] | None = None
    head: HeadName | None = None
    letterbox: Alignment | None = None
    options: ManifestOptions = ManifestOptions()


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to run a version.

    Attributes:
        class_names: By class_id.
        head: Layout of the output.
        letterbox: Where the picture lies in the input.
        input_hw: Size of the input, model px.
        options: What is used where a caller leaves an option unset.
    """

    class_names: tuple[str, ...]
    head: HeadName
    letterbox: Alignment
    input_hw: tuple[int, int]
    options: DetectOptions


def read_manifest(path: Path) -> Manifest:
    """Reads a manifest; a file that is not there is an empty one.

    Raises:
        ModelInvalid: The file cannot be read, is no YAML, or has unknown or wrong keys, all of which are named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Manifest()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelInvalid(f"{path}: cannot be read: {error}") from error
    try:
        content = yaml.safe_load(text)
        return Manifest.model_validate({} if content is None else content)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}" for fault in error.errors())
        raise ModelInvalid(f"{path}: {'; '.join(faults)}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise ModelInvalid(f"{path}: is not YAML: {error}") from error


def resolve(manifest: Manifest, signature: Signature) -> ModelSpec:
    """Completes a manifest from the signature of the ONNX file.

    Raises:
        ModelInvalid: The file is no detector that we can serve, or manifest and file contradict each other.
    """
    rows = _output_rows(signature)
    names = _class_names(manifest, signature.metadata, rows - BOX_ROWS)
    unknown = sorted(manifest.options.class_confidence_thresholds.keys() - set(names))
    if unknown:
        raise ModelInvalid(f"class_confidence_thresholds names classes that the model does not have: {unknown}")
    overrides = manifest.options.model_dump(exclude_none=True)
    return ModelSpec(
        class_names=names,
        head=manifest.head or _head(signature.metadata),
        letterbox=manifest.letterbox or _letterbox(signature.metadata),
        input_hw=signature.input_hw,
        options=DetectOptions(**overrides),
    )


def _output_rows(signature: Signature) -> int:
    """Rows of the detection output [1, 4 + classes, N], which has many more columns than rows."""
    for shape in signature.output_shapes:
        match shape:
            case (1, rows, columns) if BOX_ROWS < rows < columns:
                return rows
    shapes = ", ".join(str(list(shape)) for shape in signature.output_shapes)
    raise ModelInvalid(f"no output has the layout [1, 4 + number of classes, boxes]; the outputs are {shapes}")


def _class_names(manifest: Manifest, metadata: Mapping[str, str], count: int) -> tuple[str, ...]:
    """Names from the manifest, else from the metadata key `names`, else made up."""
    if manifest.class_names is not None:
        source, names = "manifest.yaml", manifest.class_names
    elif "names" in metadata:
        source, names = "the metadata of the ONNX file", _parse_names(metadata["names"])
    else:
        return tuple(f"class_{index}" for index in range(count))
    if len(names) != count:
        raise ModelInvalid(f"{source} has {len(names)} class names, the output has {count} classes")
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ModelInvalid(f"{source} has class names more than once: {duplicates}")
    return names


def _parse_names(text: str) -> tuple[str, ...]:
    """Class names as JSON (libreyolo) or as the text of a Python dict (ultralytics), keyed by class_id."""
    for parse in (json.loads, ast.literal_eval):
        try:
            parsed = parse(text)
            if isinstance(parsed, dict):
                by_id = {int(key): str(name) for key, name in parsed.items()}
                return tuple(by_id[index] for index in range(len(by_id)))
            if isinstance(parsed, list):
                return tuple(map(str, parsed))
        except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
            continue
    raise ModelInvalid('the metadata key "names" of the ONNX file is no list of class names; set class_names')


def _head(metadata: Mapping[str, str]) -> HeadName:
    # libreyolo's YOLOv9 exports look like everybody's, but hold corners; only its metadata tells.
    return "xyxy" if metadata.get("model_family") == "yolo9" else "cxcywh"


def _letterbox(metadata: Mapping[str, str]) -> Alignment:
    return "topleft" if metadata.get("letterbox_pad") == "topleft" else "center"
