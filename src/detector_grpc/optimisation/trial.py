"""Versions tried in every form: made, looked at as a server would, and measured beside what they were made of."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import yaml

from detector_grpc.evaluation.target import OfflineTarget
from detector_grpc.optimisation.forms import make
from detector_grpc.optimisation.measure import OPTIONS
from detector_grpc.serving.manifest import Measured, read_manifest
from detector_grpc.serving.openvino import OpenVinoSession
from detector_grpc.serving.repository import MANIFEST_FILE, MODEL_FILE, stored
from detector_grpc.serving.session import OnnxFile
from detector_grpc.serving.spec import BF16, ModelSpec, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from detector_grpc.optimisation.forms import FormName
    from detector_grpc.optimisation.measure import Accuracy
    from detector_grpc.serving.repository import VersionSource
    from detector_grpc.serving.session import Model, Session

# Larger than what any server takes by default; whoever optimises chose the pictures.
_MAX_PIXELS = 2**30


@dataclass(frozen=True)
class Original:
    """A version that is to be optimised.

    Attributes:
        source: Where it comes from.
        spec: What it is.
        target: It, opened.
        description: What its manifest says of it.
    """

    source: VersionSource
    spec: ModelSpec
    target: OfflineTarget
    description: str


@dataclass(frozen=True)
class Candidate:
    """A form of it, in a folder of its own.

    Attributes:
        form: Which.
        folder: With `model.onnx` and `manifest.yaml`.
        target: It, opened.
    """

    form: FormName
    folder: Path
    target: OfflineTarget

    @property
    def size_bytes(self) -> int:
        """Of the model file."""
        return (self.folder / MODEL_FILE).stat().st_size


def open_original(source: VersionSource) -> Original:
    """Opens a version.

    Raises:
        ModelInvalid: It cannot be served.
    """
    manifest = read_manifest(source.manifest_path)
    target = OfflineTarget("original", source, OnnxFile, _MAX_PIXELS, OPTIONS)
    with closing(OnnxFile(source.path)) as file:
        return Original(source, resolve(manifest, file), target, manifest.description)


def try_form(form: FormName, original: Original, calibration: Sequence[Path], folder: Path, *, nms: bool) -> Candidate:
    """Makes a form of a version in a new folder, and opens it.

    Raises:
        ModelInvalid: That cannot be made of it, or be served.
        SetupInvalid: A package is not installed, or a picture for calibration is missing or cannot be used.
    """
    made = make(form, original.source.path, original.spec, calibration, nms=nms)
    folder.mkdir(parents=True)
    (folder / MODEL_FILE).write_bytes(made.content)
    _write_manifest(folder, {"description": original.description, **made.manifest})
    open_file = partial(OnnxFile, open_session=_in_bf16) if form == BF16 else OnnxFile
    return Candidate(form, folder, OfflineTarget(form, stored(folder), open_file, _MAX_PIXELS, OPTIONS))


def place(candidate: Candidate, original: Original, accuracy: Accuracy, pictures: int, max_drop: float) -> None:
    """Writes into the candidate's manifest what was measured, so that its folder is complete."""
    measured = Measured(
        form=candidate.form,
        digest=candidate.target.digest,
        original=original.target.digest,
        pictures=pictures,
        map50_95=round(accuracy.map50_95, 4),
        original_map50_95=round(accuracy.map50_95 - accuracy.difference.value, 4),
        max_drop=max_drop,
    )
    path = candidate.folder / MANIFEST_FILE
    _write_manifest(candidate.folder, yaml.safe_load(path.read_text()) | {"measured": measured.model_dump()})


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    text = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True)
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def _in_bf16(model: Model) -> Session:
    return OpenVinoSession(model._replace(bf16=True))
