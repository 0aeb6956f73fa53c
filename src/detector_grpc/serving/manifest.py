"""What `manifest.yaml` may say of a version. Every key is optional; the rest is concluded from the ONNX file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detector_grpc.errors import ModelInvalid
from detector_grpc.serving.options import MAX_DETECTIONS
from detector_grpc.validation import faults
from detector_grpc.vision.heads import HeadName
from detector_grpc.vision.letterbox import Resize
from detector_grpc.vision.tensor import ColorOrder

if TYPE_CHECKING:
    from pathlib import Path

MAX_INPUT_SIDE_PX = 8192

Probability = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=1, le=MAX_INPUT_SIDE_PX)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Divisor = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ManifestInput(BaseModel):
    """How the model was trained to see pictures.

    Attributes:
        size: Height and width in pixels, for files that leave them open.
        resize: How a picture is made to fit: padded on both sides, padded right and below, or stretched.
        pad_value: Value of the padding's samples.
        color_order: Order of the channels.
        scale: Factor for samples in [0, 255].
        mean: What is subtracted then, in the order of the channels.
        std: What is divided by then, in the order of the channels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: tuple[Side, Side] | None = None
    resize: Resize | None = None
    pad_value: Annotated[int, Field(ge=0, le=255)] | None = None
    color_order: ColorOrder | None = None
    scale: Divisor | None = None
    mean: tuple[Finite, Finite, Finite] | None = None
    std: tuple[Divisor, Divisor, Divisor] | None = None


class ManifestOptions(BaseModel):
    """The version's operating point. Unset means the default of DetectOptions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence_threshold: Probability | None = None
    class_confidence_thresholds: dict[str, Probability] = {}
    iou_threshold: Probability | None = None
    multi_label: bool | None = None
    class_agnostic_nms: bool | None = None
    max_detections: Annotated[int, Field(ge=1, le=MAX_DETECTIONS)] | None = None


class Measured(BaseModel):
    """What `models optimize` measured of the model file that it wrote.

    Attributes:
        form: What it made of the original.
        digest: Of the model file, "sha256:" and 64 hexadecimal digits.
        original: The same of the file that it was made of.
        pictures: On how many marked ones accuracy was measured.
        map50_95: Mean average precision of the file, COCO's. Range [0, 1].
        original_map50_95: That of the original.
        max_drop: By how much the former was allowed to be less, in hundredths.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    form: str
    digest: str
    original: str
    pictures: Annotated[int, Field(ge=1)]
    map50_95: Probability
    original_map50_95: Probability
    max_drop: Finite


class Manifest(BaseModel):
    """A `manifest.yaml`.

    Attributes:
        description: For people.
        class_names: By class_id.
        head: Layout of the outputs.
        outputs: Names of the outputs to look at; all if unset.
        input: How the model was trained to see pictures.
        options: The version's operating point.
        measured: What the version was made of, and what that cost.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    class_names: tuple[str, ...] | None = None
    head: HeadName | None = None
    outputs: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    input: ManifestInput = ManifestInput()
    options: ManifestOptions = ManifestOptions()
    measured: Measured | None = None


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
        raise ModelInvalid(f"{path}: {'; '.join(faults(error))}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise ModelInvalid(f"{path}: is not YAML: {error}") from error
