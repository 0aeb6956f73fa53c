"""Which versions this process holds, in which state, and which of them answers."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from detector_grpc.errors import (
    DetectorError,
    ModelInvalid,
    ModelNotFound,
    VersionFailed,
    VersionLoading,
    VersionNotHeld,
)
from detector_grpc.serving import golden
from detector_grpc.serving.manifest import read_manifest
from detector_grpc.serving.pipeline import Pipeline
from detector_grpc.serving.spec import ModelSpec, resolve

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from detector_grpc.serving.repository import VersionSource
    from detector_grpc.serving.session import Session, Signature

log = logging.getLogger(__name__)


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


@dataclass
class ModelVersion:
    """A version that this process was asked to hold.

    Attributes:
        source: Where it comes from.
        state: Whether it answers.
        failure: Why it failed, for the operator; empty in every other state.
        loaded: Set exactly when `state` is READY.
    """

    source: VersionSource
    state: ModelState = ModelState.LOADING
    failure: str = ""
    loaded: LoadedModel | None = None

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.source.model

    @property
    def version(self) -> str:
        """Name of the version."""
        return self.source.version


class Registry:
    """Holds versions. Belongs to one event loop; only the loading itself happens on threads.

    Args:
        sources: The versions to hold.
        default_model: Answers where a call names no model.
        default_version: Answers where nothing else chose a version.
        open_session: Makes a session of a model file; blocking.
        max_pixels: Largest width * height of a picture.
        on_change: Awaited after every change of a version's state.
    """

    def __init__(
        self,
        sources: Sequence[VersionSource],
        default_model: str,
        default_version: str,
        open_session: Callable[[Path], Session],
        max_pixels: int,
        on_change: Callable[[ModelVersion], Awaitable[None]],
    ) -> None:
        self.default_model = default_model
        self.default_version = default_version
        self._versions = {(source.model, source.version): ModelVersion(source) for source in sources}
        self._open_session = open_session
        self._max_pixels = max_pixels
        self._on_change = on_change

    def versions(self) -> list[ModelVersion]:
        """All versions, sorted by model and version."""
        return [self._versions[key] for key in sorted(self._versions)]

    @property
    def settled(self) -> bool:
        """Whether every version is READY or FAILED, and at least one READY."""
        states = {version.state for version in self._versions.values()}
        return ModelState.LOADING not in states and ModelState.READY in states

    def find(self, model: str, version: str) -> ModelVersion:
        """The version meant by these names; an empty name means the default.

        Raises:
            ModelNotFound: The model is not held here.
            VersionNotHeld: The model is held here, that version is not.
        """
        model = model or self.default_model
        version = version or self.default_version
        found = self._versions.get((model, version))
        if found is not None:
            return found
        if any(held == model for held, _ in self._versions):
            raise VersionNotHeld(model, version)
        raise ModelNotFound(model)

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

    async def load_all(self) -> None:
        """Loads every version; a failure is that version's alone, and no version waits for another."""
        await asyncio.gather(*(self._load(version) for version in self._versions.values()))

    async def _load(self, version: ModelVersion) -> None:
        try:
            version.loaded = await asyncio.to_thread(open_version, version.source, self._open_session, self._max_pixels)
            version.state = ModelState.READY
        except DetectorError as error:
            version.state, version.failure = ModelState.FAILED, error.message
        except Exception:
            log.exception("loading failed in an unexpected way", extra={"origin": version.source.origin})
            version.state, version.failure = ModelState.FAILED, "unexpected error; the log has its traceback"
        await self._on_change(version)


def open_version(source: VersionSource, open_session: Callable[[Path], Session], max_pixels: int) -> LoadedModel:
    """Reads a version, and lets it through the golden gate; blocking.

    Raises:
        ModelInvalid: It cannot be served, or does not reproduce its golden pictures.
    """
    loaded = read_version(source, open_session, max_pixels)
    golden.check(source.golden_path, loaded.pipeline)
    return loaded


def read_version(source: VersionSource, open_session: Callable[[Path], Session], max_pixels: int) -> LoadedModel:
    """Reads a version and runs it once on a blank picture; blocking.

    Raises:
        ModelInvalid: The file is missing or cannot be served.
    """
    if not source.path.exists():
        raise ModelInvalid(f"{source.origin}: there is no file {source.path}")
    manifest = read_manifest(source.manifest_path)
    session = open_session(source.path)
    try:
        spec = resolve(manifest, session)
    except ModelInvalid as error:
        raise ModelInvalid(f"{source.path}: {error.message}") from error
    return LoadedModel(spec, session.signature, Pipeline(spec, session, max_pixels))
