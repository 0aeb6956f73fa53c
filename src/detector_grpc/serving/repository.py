"""Which model files there are: `<repository>/<model>/<version>/model.onnx`, and single files mounted as versions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector_grpc.errors import SetupInvalid

if TYPE_CHECKING:
    from pathlib import Path

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.yaml"
GOLDEN_FOLDER = "golden"

# Names go into metric labels, health service names and URLs.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True)
class VersionSource:
    """Where a version comes from.

    Attributes:
        model: Name of the model.
        version: Name of the version.
        path: The model file.
        manifest_path: The manifest, which may not exist.
        golden_path: The folder of golden pictures, which may not exist.
        origin: What told us of it, for messages to the operator: a folder or a setting.
    """

    model: str
    version: str
    path: Path
    manifest_path: Path
    golden_path: Path
    origin: str


def scan(repository: Path) -> list[VersionSource]:
    """All versions in a repository, sorted by model and version; folders without a model file are no versions.

    Raises:
        SetupInvalid: The repository cannot be read, or a folder that holds a model file has a name that cannot be used.
    """
    try:
        found = [
            stored(folder)
            for model in sorted(repository.iterdir())
            if model.is_dir()
            for folder in sorted(model.iterdir())
            if (folder / MODEL_FILE).exists()
        ]
    except OSError as error:
        raise SetupInvalid([f"cannot read the model repository {repository}: {error.strerror}"]) from error
    faults = [
        f'{source.origin}: "{name}" cannot be the name of a model or version: letters, digits, ".", "_" and "-" only, '
        "the first a letter or digit, at most 63"
        for source in found
        for name in (source.model, source.version)
        if not NAME.fullmatch(name)
    ]
    if faults:
        raise SetupInvalid(faults)
    return found


def stored(folder: Path) -> VersionSource:
    """A folder `<model>/<version>` as a version."""
    return VersionSource(
        folder.parent.name,
        folder.name,
        folder / MODEL_FILE,
        folder / MANIFEST_FILE,
        folder / GOLDEN_FOLDER,
        origin=str(folder),
    )


def at(path: Path) -> VersionSource:
    """The version in a folder, or of a model file wherever it lies.

    A file may be a link to another place: what belongs to the version lies beside the link.
    """
    if path.is_dir():
        return stored(path.resolve())
    if path.name == MODEL_FILE:
        return stored(path.parent.resolve())
    return mounted(path.stem, "", path, str(path))


def mounted(model: str, version: str, path: Path, setting: str) -> VersionSource:
    """A single file as a version; its manifest and golden pictures may lie beside it, as `.yaml` and `.golden`."""
    return VersionSource(model, version, path, path.with_suffix(".yaml"), path.with_suffix(".golden"), setting)
