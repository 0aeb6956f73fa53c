"""What a model version is: the manifest before the ONNX file's own metadata before what its shapes admit."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from detector_grpc.errors import InferenceFailed, ModelInvalid
from detector_grpc.serving.families import family_of, trained
from detector_grpc.serving.inputs import ImageInput, find_slot
from detector_grpc.serving.layouts import Layout, Output, recognise
from detector_grpc.serving.manifest import ManifestOptions
from detector_grpc.serving.options import DetectOptions
from detector_grpc.vision.tensor import TensorFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detector_grpc.serving.inputs import Slot
    from detector_grpc.serving.manifest import Manifest
    from detector_grpc.serving.session import ModelFile, Signature
    from detector_grpc.vision.letterbox import Resize

T = TypeVar("T")

MANIFEST = "manifest.yaml"

# The form of versions that may be computed in bfloat16.
BF16 = "bf16"

# libreyolo's own key.
_LETTERBOX_PADS: dict[str, Resize] = {"center": "letterbox", "topleft": "letterbox_topleft"}


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to run a version.

    Attributes:
        class_names: By class_id.
        input: How a picture becomes what the model takes.
        layout: What its outputs mean.
        options: What is used where a caller leaves an option unset.
        bf16: Whether it was measured to be accurate enough when it is computed in bfloat16.
        reasons: What each conclusion was drawn from, by key of `as_manifest`, sections and keys joined by a dot.
    """

    class_names: tuple[str, ...]
    input: ImageInput
    layout: Layout
    options: DetectOptions
    bf16: bool = False
    reasons: Mapping[str, str] = field(default_factory=dict)

    def as_manifest(self) -> dict[str, Any]:
        """A manifest that says all of it, ready for YAML or JSON."""
        image, numbers = self.input, self.input.tensor_format
        return {
            "class_names": list(self.class_names),
            "head": self.layout.head,
            "outputs": list(self.layout.outputs),
            "input": {
                "size": list(image.hw),
                "resize": image.resize,
                "pad_value": image.pad_value,
                "color_order": numbers.color_order,
                "scale": numbers.scale,
                "mean": list(numbers.mean),
                "std": list(numbers.std),
            },
            "options": {name: getattr(self.options, name) for name in ManifestOptions.model_fields},
        }


def resolve(manifest: Manifest, file: ModelFile) -> ModelSpec:
    """Concludes what a version is; runs it once on a blank picture.

    Raises:
        ModelInvalid: The file is no detector that we can serve, stays ambiguous, or manifest and file contradict each
            other.
    """
    signature, reasons = file.signature, _Reasons()
    names, source = _given_names(manifest, signature.metadata)
    slot = find_slot(signature, manifest.input.size)
    outputs = _chosen(_run_blank(file, slot), manifest.outputs)
    count = None if names is None else len(names)
    layout = recognise(outputs, slot.hw, count, source, signature.metadata, manifest.head)
    names = _made_up_names(layout) if names is None else names
    family = family_of(signature.metadata)
    told_by_family = f"{family.reason}, and " if family and family.head == layout.head else ""
    reasons["class_names"] = source
    reasons["head"] = MANIFEST if manifest.head else f"{told_by_family}the shapes of {', '.join(map(str, outputs))}"
    reasons["outputs"] = MANIFEST if manifest.outputs else f"read by {layout.head}"
    reasons["input.size"] = slot.hw_reason
    for name in ManifestOptions.model_fields:
        reasons[f"options.{name}"] = MANIFEST if name in manifest.options.model_fields_set else "default"
    return ModelSpec(
        class_names=names,
        input=_image_input(manifest, slot, layout, signature.metadata, reasons),
        layout=layout,
        options=_options(manifest, names),
        bf16=_is_for_bf16(manifest, signature),
        reasons=reasons,
    )


class _Reasons(dict[str, str]):
    """Remembers where each value came from."""

    def first(self, key: str, *choices: tuple[T | None, str]) -> T:
        """The first value that there is."""
        for value, reason in choices:
            if value is not None:
                self[key] = reason
                return value
        raise AssertionError(key)


def _run_blank(file: ModelFile, slot: Slot) -> list[Output]:
    names = [each.name for each in file.signature.outputs]
    try:
        values = file.run(slot.blank(), names)
    except InferenceFailed as error:
        raise ModelInvalid(f"it cannot be run on a blank picture: {error.__cause__}") from error
    return [
        Output(name, tuple(value.shape), np.issubdtype(value.dtype, np.floating))
        for name, value in zip(names, values, strict=True)
        if isinstance(value, np.ndarray)
    ]


def _chosen(outputs: list[Output], names: Sequence[str] | None) -> list[Output]:
    by_name = {output.name: output for output in outputs}
    unknown = [name for name in names or () if name not in by_name]
    if unknown:
        raise ModelInvalid(f"`outputs` names {unknown}; the outputs are {', '.join(map(str, outputs))}")
    return outputs if names is None else [by_name[name] for name in names]


def _image_input(
    manifest: Manifest, slot: Slot, layout: Layout, metadata: Mapping[str, str], reasons: _Reasons
) -> ImageInput:
    asked, (usually, usual) = manifest.input, trained(layout.head, metadata)
    pad = metadata.get("letterbox_pad", "")
    tensor_format = TensorFormat(
        dtype=slot.dtype,
        dimension_order=slot.dimension_order,
        color_order=reasons.first("input.color_order", (asked.color_order, MANIFEST), (usually.color_order, usual)),
        scale=reasons.first(
            "input.scale",
            (asked.scale, MANIFEST),
            (1.0 if slot.dtype == "uint8" else None, "the input is uint8"),
            (usually.scale, usual),
        ),
        mean=reasons.first("input.mean", (asked.mean, MANIFEST), (usually.mean, usual)),
        std=reasons.first("input.std", (asked.std, MANIFEST), (usually.std, usual)),
    )
    if slot.dtype == "uint8" and not tensor_format.is_plain:
        raise ModelInvalid("the input is uint8, to which input.scale, input.mean and input.std cannot be applied")
    return ImageInput(
        name=slot.name,
        hw=slot.hw,
        resize=reasons.first(
            "input.resize",
            (asked.resize, MANIFEST),
            (_LETTERBOX_PADS.get(pad), f"metadata letterbox_pad: {pad}"),
            (usually.resize, usual),
        ),
        pad_value=reasons.first("input.pad_value", (asked.pad_value, MANIFEST), (114, usual)),
        tensor_format=tensor_format,
        size=slot.size,
    )


def _options(manifest: Manifest, names: tuple[str, ...]) -> DetectOptions:
    unknown = sorted(manifest.options.class_confidence_thresholds.keys() - set(names))
    if unknown:
        raise ModelInvalid(f"class_confidence_thresholds names classes that the model does not have: {unknown}")
    return DetectOptions(**manifest.options.model_dump(exclude_none=True))


def _is_for_bf16(manifest: Manifest, signature: Signature) -> bool:
    measured = manifest.measured
    if measured is None:
        return False
    if measured.digest != signature.digest:
        raise ModelInvalid(
            f"`measured` in {MANIFEST} is about another file, {measured.digest}: measure this one, or take it out"
        )
    return measured.form == BF16


def _given_names(manifest: Manifest, metadata: Mapping[str, str]) -> tuple[tuple[str, ...] | None, str]:
    """Names from the manifest, else from the metadata key `names`, and which."""
    if manifest.class_names is not None:
        names, source = manifest.class_names, MANIFEST
    elif "names" in metadata:
        names, source = _parse_names(metadata["names"]), "the metadata of the ONNX file"
    else:
        return None, "made up: neither manifest nor metadata has any"
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ModelInvalid(f"{source} has class names more than once: {duplicates}")
    return names, source


def _made_up_names(layout: Layout) -> tuple[str, ...]:
    if layout.classes is None:
        raise ModelInvalid(
            f"the outputs of the head {layout.head} do not say how many classes there are: set class_names"
        )
    return tuple(f"class_{index}" for index in range(layout.classes))


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
