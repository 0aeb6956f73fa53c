"""What holds for every sequence of loading, unloading, detecting and leaving.

The service, the scheduler, the registry and the loader are the real ones; threads finish when the script says so.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from support.sessions import FakeSession
from support.threads import Threads

from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectRequest
from detector_grpc._gen.detector.v1.image_pb2 import PIXEL_FORMAT_RGB24, Image, ImageSize, RawImage
from detector_grpc.errors import (
    DetectorError,
    ModelInvalid,
    ModelNotFound,
    VersionFailed,
    VersionLoading,
    VersionNotFound,
    VersionNotHeld,
)
from detector_grpc.rpc.detector_service import DetectorService
from detector_grpc.rpc.stream_frames import Served, StreamLimits
from detector_grpc.serving.budget import Shares
from detector_grpc.serving.loader import Loader
from detector_grpc.serving.outcome import CURRENT_CALL, Call
from detector_grpc.serving.registry import ModelState, Registry
from detector_grpc.serving.repository import Sources, scan
from detector_grpc.serving.resume import ResumeTokens
from detector_grpc.serving.scheduler import Priority, Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S = 20
VERSIONS = ("v1", "v2")
BROKEN = "broken"
PIXEL = Image(raw=RawImage(data=bytes(3), size=ImageSize(width=1, height=1), format=PIXEL_FORMAT_RGB24))


@dataclass
class Load:
    version: str


@dataclass
class Unload:
    version: str


@dataclass
class Write:
    version: str
    is_broken: bool


@dataclass
class Detect:
    version: str


@dataclass
class Leave:
    which: int


@dataclass
class Open:
    """Has a thread finish that opens or closes a model."""

    which: int


@dataclass
class Answer:
    """Has a worker finish."""

    which: int


numbers = st.integers(0, 30)
versions = st.sampled_from(VERSIONS)
steps = st.one_of(
    st.builds(Load, versions),
    st.builds(Unload, versions),
    st.builds(Write, versions, st.booleans()),
    st.builds(Detect, versions),
    st.builds(Leave, numbers),
    st.builds(Open, numbers),
    st.builds(Answer, numbers),
)
# After each step the loop runs a few times: some things fall into the same turn, others do not.
scripts = st.lists(st.tuples(steps, st.integers(0, 4)), min_size=10, max_size=80)


class Context:
    """As much of a call as the service asks for."""

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def time_remaining(self) -> None:
        return None


class World:
    """A process without a network."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written = 0
        self._blocking: list[tuple[asyncio.Future[Any], Callable[[], Any]]] = []
        self.sessions: list[FakeSession] = []
        self.tasks: list[asyncio.Task[None]] = []
        for version in VERSIONS:
            self.write(version)
        self.registry = Registry(scan(folder), "tiny", "v1")
        self.scheduler = Scheduler(2, 100)
        self.threads = Threads(lambda: 0.0)
        self.scheduler._threads = dict.fromkeys(Priority, self.threads)  # type: ignore[arg-type]
        self._service = DetectorService(
            self.registry,
            Served(
                self.scheduler,
                Shares.of(100, 100),
                StreamLimits(max_frames_in_flight=1, max_frame_bytes=100, config_timeout_s=1, write_timeout_s=1),
                lambda _: None,
            ),
            ResumeTokens(b"key"),
        )
        self.loader = Loader(
            self.registry, Sources([folder]), self._session, 100, 2, self._service.until_unused, self._on_change
        )

    def write(self, version: str, *, is_broken: bool = False) -> None:
        path = self._folder / "tiny" / version / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._written += 1  # a size of its own for every content
        path.write_text((BROKEN if is_broken else "") + "x" * self._written)

    def _session(self, path: Path) -> FakeSession:
        content = path.read_text()
        if content.startswith(BROKEN):
            raise ModelInvalid(BROKEN)
        self.sessions.append(FakeSession(digest=content))
        return self.sessions[-1]

    async def _on_change(self) -> None:
        await asyncio.sleep(0)

    async def to_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """asyncio.to_thread with threads that finish when the script says so."""
        done = asyncio.get_running_loop().create_future()
        self._blocking.append((done, lambda: function(*arguments)))
        return await done

    def finish_blocking(self, which: int = 0) -> bool:
        if not self._blocking:
            return False
        done, function = self._blocking.pop(which % len(self._blocking))
        try:
            value, error = function(), None
        except Exception as raised:  # noqa: BLE001 - as the real ones do
            value, error = None, raised
        if not done.done():
            done.set_exception(error) if error else done.set_result(value)
        return True

    async def take(self, step: object) -> None:
        match step:
            case Load(version):
                self.tasks.append(asyncio.create_task(self.load(version)))
            case Unload(version):
                self.tasks.append(asyncio.create_task(self.unload(version)))
            case Write(version, is_broken):
                self.write(version, is_broken=is_broken)
            case Detect(version):
                self.tasks.append(asyncio.create_task(self.detect(version)))
            case Leave(which) if self.tasks:
                self.tasks[which % len(self.tasks)].cancel()
            case Open(which):
                self.finish_blocking(which)
            case Answer(which):
                self.threads.finish(which)

    async def load(self, version: str) -> None:
        try:
            await self.loader.load("tiny", version)
        except (VersionFailed, VersionNotFound):
            return

    async def unload(self, version: str) -> None:
        before = list(self.sessions)
        held = self.registry.get("tiny", version)
        try:
            await self.loader.unload("tiny", version)
        except (VersionNotHeld, ModelNotFound):
            return
        if held is not None and held.loaded is not None:  # what answered when this was asked for answers no more
            digest = held.loaded.signature.digest
            assert all(session.closed for session in before if session.signature.digest == digest)

    async def detect(self, version: str) -> None:
        """A call is answered by the files that were READY when it was taken, or told why there are none."""
        CURRENT_CALL.set(Call("Detect", "id"))
        held = self.registry.get("tiny", version)
        state = held.state if held else None
        digest = held.loaded.signature.digest if held and held.loaded else ""
        try:
            answer = await self._service.Detect(DetectRequest(image=PIXEL, version=version), Context())  # type: ignore[arg-type]
        except DetectorError as error:
            expected = {None: VersionNotHeld, ModelState.LOADING: VersionLoading, ModelState.FAILED: VersionFailed}
            assert type(error) is expected[state]  # noqa: PT017 - most calls do not fail
        else:
            assert state is ModelState.READY
            assert answer.model_digest == digest

    async def finish_all(self) -> None:
        """Ends what runs until nothing is left."""
        quiet = 0
        while quiet < 30:
            quiet = 0 if self.finish_blocking() or self.threads.finish() else quiet + 1
            await asyncio.sleep(0)


async def play(folder: Path, script: list[tuple[object, int]]) -> None:
    world = World(folder)
    with mock.patch.object(asyncio, "to_thread", world.to_thread):
        starting = asyncio.create_task(world.loader.load_all())
        await world.finish_all()
        await starting
        for step, turns in script:
            await world.take(step)
            for _ in range(turns):
                await asyncio.sleep(0)
        await world.finish_all()
        async with asyncio.timeout(TIMEOUT_S):
            results = await asyncio.gather(*world.tasks, return_exceptions=True)
    async with asyncio.timeout(TIMEOUT_S):
        await world.scheduler.close()
    assert [result for result in results if isinstance(result, Exception)] == []  # who left is no Exception
    answering = [version.loaded.pipeline._session for version in world.registry.versions() if version.loaded]
    assert [session for session in world.sessions if not session.closed] == sorted(answering, key=world.sessions.index)
    assert not world.loader._turns


@given(scripts)
def test_every_call_is_answered_by_what_was_ready_and_nothing_in_use_is_closed(
    script: list[tuple[object, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), script))
