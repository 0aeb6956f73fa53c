"""A registry and its loader over empty files in a folder, whose sessions are fakes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from detector_grpc.serving.loader import Loader
from detector_grpc.serving.registry import Registry
from detector_grpc.serving.repository import Sources, scan
from support.sessions import FakeSession

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from detector_grpc.serving.registry import LoadedModel, ModelState

TIMEOUT_S = 20

MAX_PIXELS = 1000
WORKERS = 2
NO_CGROUP = Path("/nonexistent")


class Loading:
    """What is held, and what was told and done.

    Args:
        folder: The model repository.
        names: Models and versions that it has at the start.
        cgroup: Root of the control group file system; by default one that says nothing.

    Attributes:
        open_session: How files are opened; may be replaced.
        opened: Every session, in order.
        states: State of every version, at the start and after every change.
        in_use: Models that are not to be closed yet; empty means that none is used.
    """

    def __init__(self, folder: Path, names: Sequence[tuple[str, str]], cgroup: Path = NO_CGROUP) -> None:
        self.folder = folder
        self.opened: list[FakeSession] = []
        self.open_session: Callable[[Path], FakeSession] = session_of
        for model, version in names:
            self.write(model, version)
        self.sources = Sources([folder])
        self.registry = Registry(scan(folder), "yolo", "v1")
        self.loader = Loader(
            self.registry,
            self.sources,
            self._open,
            MAX_PIXELS,
            WORKERS,
            self._until_unused,
            self._on_change,
            cgroup=cgroup,
        )
        self.states = [self._states()]
        self.in_use: list[LoadedModel] = []
        self.changed = asyncio.Event()

    def write(self, model: str, version: str, content: str = "first") -> Path:
        """A model file, whose session has its content as digest."""
        path = self.folder / model / version / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def digest(self, model: str = "yolo", version: str = "v1") -> str:
        """Of the file that answers."""
        return self.registry.ready(model, version)[1].signature.digest

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for a change that makes the condition true."""
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def release(self) -> None:
        """Has all calls end."""
        self.in_use.clear()
        self.changed.set()

    def _open(self, path: Path) -> FakeSession:
        session = self.open_session(path)
        self.opened.append(session)
        return session

    async def _until_unused(self, loaded: LoadedModel) -> None:
        await self.until(lambda: loaded not in self.in_use)

    async def _on_change(self) -> None:
        await asyncio.sleep(0)
        self.states.append(self._states())
        self.changed.set()

    def _states(self) -> dict[tuple[str, str], ModelState]:
        return {(version.model, version.version): version.state for version in self.registry.versions()}


def session_of(path: Path) -> FakeSession:
    """The session of a file that can be served."""
    return FakeSession(digest=path.read_text())
