"""Which versions this process holds, in which state, and which of them answers."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from detector_grpc.errors import ModelInvalid, ModelNotFound, VersionFailed, VersionLoading, VersionNotHeld
from detector_grpc.serving import golden
from detector_grpc.serving.manifest import read_manifest
from detector_grpc.serving.pipeline import Pipeline
from detector_grpc.serving.spec import ModelSpec, resolve
from detector_grpc.vision.uncertainty import DEFAULT_MEASURES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from detector_grpc.serving.repository import Stamp, VersionSource
    from detector_grpc.serving.session import ModelFile, Signature
    from detector_grpc.vision.uncertainty import Measures


class ModelState(Enum):
    """Whether a version can answer."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class LoadedModel:
    """What a READY version consists of."""

    spec: ModelSpec
    signature: Signature
    pipeline: Pipeline


@dataclass(eq=False)
class ModelVersion:
    """A version that this process holds. Changed by the Loader alone.

    Attributes:
        source: Where it comes from.
        state: Whether it answers.
        failure: Why it failed, for the operator; empty in every other state.
        loaded: Set exactly when `state` is READY.
        stamp: That of the files that were loaded.
    """

    source: VersionSource
    state: ModelState = ModelState.LOADING
    failure: str = ""
    loaded: LoadedModel | None = None
    stamp: Stamp | None = None

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.source.model

    @property
    def version(self) -> str:
        """Name of the version."""
        return self.source.version


class Registry:
    """Holds versions. Belongs to one event loop.

    Args:
        sources: The versions to hold from the start.
        default_model: Answers where a call names no model.
        default_version: Answers where nothing else chose a version. Neither is ever changed by a load.

    Attributes:
        started: Whether every version of the start has settled.
    """

    def __init__(self, sources: Sequence[VersionSource], default_model: str, default_version: str) -> None:
        self.default_model = default_model
        self.default_version = default_version
        self.started = False
        self._versions = {(source.model, source.version): ModelVersion(source) for source in sources}
        self._models = {source.model for source in sources}

    def versions(self) -> list[ModelVersion]:
        """All versions, sorted by model and version. May be called by any thread."""
        return sorted(self._versions.values(), key=lambda version: (version.model, version.version))

    def providers(self) -> list[tuple[str, str, str]]:
        """Model, version and execution provider of every version that answers. May be called by any thread."""
        loaded = ((version, version.loaded) for version in self.versions())
        return [(version.model, version.version, model.pipeline.provider) for version, model in loaded if model]

    @property
    def serving(self) -> bool:
        """Whether every version of the start has settled, and at least one version is READY."""
        return self.started and any(version.state is ModelState.READY for version in self._versions.values())

    @property
    def has_default(self) -> bool:
        """Whether the version that answers where nothing is named is held."""
        return (self.default_model, self.default_version) in self._versions

    def is_default_model(self, model: str) -> bool:
        """Whether a call that names this model, or by an empty name none, means the default one."""
        return model in ("", self.default_model)

    def is_default(self, model: str, version: str) -> bool:
        """Whether calls that name nothing mean this version."""
        return (model, version) == (self.default_model, self.default_version)

    def find(self, model: str, version: str) -> ModelVersion:
        """The version meant by these names; an empty name means the default.

        Raises:
            ModelNotFound: No version of the model was ever held here.
            VersionNotHeld: The version is not held here.
        """
        model = model or self.default_model
        version = version or self.default_version
        found = self.get(model, version)
        if found is not None:
            return found
        if model in self._models or any(held == model for held, _ in self._versions):
            raise VersionNotHeld(model, version, sorted(each for held, each in self._versions if held == model))
        raise ModelNotFound(model, sorted({held for held, _ in self._versions}))

    def ready(self, model: str, version: str) -> tuple[ModelVersion, LoadedModel]:
        """As `find`, if it can answer.

        Raises:
            VersionLoading: It is being loaded.
            VersionFailed: It could not be loaded.
        """
        found = self.find(model, version)
        if found.loaded is not None:
            return found, found.loaded
        if found.state is ModelState.LOADING:
            raise VersionLoading(found.model, found.version)
        raise VersionFailed(found.model, found.version)

    def first_ready(self, versions: Sequence[str]) -> str:
        """The first of these versions of the default model that is READY, else the first of them."""
        found = ((version, self.get(self.default_model, version)) for version in versions)
        return next((version for version, held in found if held is not None and held.loaded is not None), versions[0])

    def get(self, model: str, version: str) -> ModelVersion | None:
        """The version of exactly these names, if it is held."""
        return self._versions.get((model, version))

    def hold(self, source: VersionSource) -> ModelVersion:
        """Begins to hold a version, LOADING."""
        version = self._versions[source.model, source.version] = ModelVersion(source)
        return version

    def drop(self, version: ModelVersion) -> None:
        """Holds a version no longer; from now on no call gets it."""
        del self._versions[version.model, version.version]
        if version.loaded is not None:  # its callers are told that the version has gone, not that its name is wrong
            self._models.add(version.model)


def open_version(
    source: VersionSource,
    open_file: Callable[[Path], ModelFile],
    max_pixels: int,
    measures: Measures = DEFAULT_MEASURES,
) -> LoadedModel:
    """Reads a version, and lets it through the golden gate; blocking.

    Raises:
        ModelInvalid: It cannot be served, or does not reproduce its golden pictures.
    """
    loaded = read_version(source, open_file, max_pixels, measures)
    with ExitStack() as failed:
        failed.callback(loaded.pipeline.close)
        golden.check(source.golden_path, loaded.pipeline)
        failed.pop_all()
    return loaded


def read_version(
    source: VersionSource,
    open_file: Callable[[Path], ModelFile],
    max_pixels: int,
    measures: Measures = DEFAULT_MEASURES,
) -> LoadedModel:
    """Reads a version and concludes what it is; blocking.

    Raises:
        ModelInvalid: The file is missing or cannot be served.
    """
    if not source.path.exists():
        raise ModelInvalid(f"{source.origin}: there is no file {source.path}")
    manifest = read_manifest(source.manifest_path)
    with closing(open_file(source.path)) as file:
        try:
            spec = resolve(manifest, file)
        except ModelInvalid as error:
            raise ModelInvalid(f"{source.path}: {error.message}") from error
    return LoadedModel(
        spec, file.signature, Pipeline(spec, file.taking(spec.input, bf16=spec.bf16), max_pixels, measures)
    )
