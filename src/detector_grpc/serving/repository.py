"""Which model files there are: `<repository>/<model>/<version>/model.onnx`, and single files mounted as versions."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector_grpc.errors import InvalidRequest, ModelInvalid, SetupInvalid, VersionNotFound, Violation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.yaml"
GOLDEN_FOLDER = "golden"

# What lies in this folder of a repository is on its way to become versions.
UNDER_WAY = ".pulls"

# Names go into paths, metric labels, health service names and URLs.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
NAME_RULE = 'letters, digits, ".", "_" and "-" only, the first a letter or digit, at most 63'

Stamp = tuple[tuple[str, int, int, int], ...]


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
        parts: Patterns of all the files that it may consist of, below the folder of the model file.
    """

    model: str
    version: str
    path: Path
    manifest_path: Path
    golden_path: Path
    origin: str
    parts: tuple[str, ...] = ("**/*",)

    def stamp(self) -> Stamp:
        """What changes whenever a file of the version does.

        That is the name of each, its size, and when its content and its entry changed, in nanoseconds; a copy may keep
        the former time, but not the latter.

        Raises:
            ModelInvalid: A file cannot be looked at.
        """
        return tuple(_states(self.path.parent, self.parts))


@dataclass(frozen=True)
class Sources:
    """Every place that versions come from, looked at anew with every question.

    Attributes:
        repositories: Model repositories.
        mounts: Single files.
        defaults: Single files, too, but simply absent where they do not exist.
        versions: Names of the versions that count in a scan; empty: all do.
    """

    repositories: Sequence[Path] = ()
    mounts: Sequence[VersionSource] = ()
    defaults: Sequence[VersionSource] = ()
    versions: Collection[str] = ()

    def scan(self) -> list[VersionSource]:
        """All versions that count.

        Raises:
            SetupInvalid: A repository cannot be read or has names that cannot be used, or a version is in two places.
        """
        there = [source for repository in self.repositories for source in scan(repository)] + self._mounted()
        found = [source for source in there if not self.versions or source.version in self.versions]
        origins: dict[tuple[str, str], str] = {}
        faults = []
        for source in found:
            earlier = origins.setdefault((source.model, source.version), source.origin)
            if earlier != source.origin:
                faults.append(f"{source.model} {source.version} is named twice, by {earlier} and {source.origin}")
        if faults:
            raise SetupInvalid(faults)
        return found

    def find(self, model: str, version: str) -> VersionSource:
        """One version.

        Raises:
            InvalidRequest: A name is none, so that it must not become part of a path.
            VersionNotFound: It is in none of the places.
            ModelInvalid: A folder cannot be looked into.
        """
        check_names(model, version)
        for source in self._mounted():
            if (source.model, source.version) == (model, version):
                return source
        folders = [repository / model / version for repository in self.repositories]
        for folder in folders:
            if _holds_model(folder):
                return stored(folder)
        raise VersionNotFound(model, version, [str(folder / MODEL_FILE) for folder in folders])

    def _mounted(self) -> list[VersionSource]:
        return [*self.mounts, *(source for source in self.defaults if source.path.exists())]


def check_names(model: str, version: str) -> None:
    """Refuses what cannot be the name of a model or a version.

    Raises:
        InvalidRequest: A name is missing or not allowed; both are named.
    """
    violations = [
        Violation(field, f'must be the name of a {field}: {NAME_RULE}; got "{name}"' if name else "is required")
        for field, name in (("model", model), ("version", version))
        if not NAME.fullmatch(name)
    ]
    if violations:
        raise InvalidRequest(violations)


def scan(repository: Path) -> list[VersionSource]:
    """All versions in a repository, sorted by model and version; folders without a model file are no versions.

    Raises:
        SetupInvalid: The repository cannot be read, or a folder that holds a model file has a name that cannot be used.
    """
    try:
        found = [
            stored(folder)
            for model in sorted(repository.iterdir())
            if model.is_dir() and model.name != UNDER_WAY
            for folder in sorted(model.iterdir())
            if (folder / MODEL_FILE).exists()
        ]
    except OSError as error:
        raise SetupInvalid([f"cannot read the model repository {repository}: {error.strerror}"]) from error
    faults = [
        f'{source.origin}: "{name}" cannot be the name of a model or version: {NAME_RULE}'
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
    stem = glob.escape(path.stem)
    return VersionSource(
        model,
        version,
        path,
        path.with_suffix(".yaml"),
        path.with_suffix(".golden"),
        setting,
        (f"{stem}.*", f"{stem}.golden/*"),
    )


def _holds_model(folder: Path) -> bool:
    try:
        return (folder / MODEL_FILE).exists()
    except OSError as error:
        raise ModelInvalid(f"{folder}: cannot be looked into: {error.strerror}") from error


def _states(folder: Path, patterns: Sequence[str]) -> Iterator[tuple[str, int, int, int]]:
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        try:
            state = path.stat()
        except FileNotFoundError:  # gone by now, as temporary files are
            continue
        except OSError as error:
            raise ModelInvalid(f"{path}: cannot be looked at: {error.strerror}") from error
        yield str(path.relative_to(folder)), state.st_size, state.st_mtime_ns, state.st_ctime_ns
