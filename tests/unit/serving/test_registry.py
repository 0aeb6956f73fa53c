"""Which versions there are, their states, and which of them answers."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from support.sessions import FakeSession

from detector_grpc.errors import ModelInvalid, ModelNotFound, VersionFailed, VersionLoading, VersionNotHeld
from detector_grpc.serving.registry import ModelState, ModelVersion, Registry
from detector_grpc.serving.repository import stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TIMEOUT_S = 20


def session_of(path: Path) -> FakeSession:
    return FakeSession(digest=f"sha256:{path.parent.name}")


class Registered:
    """A registry over files in a folder, and what it told."""

    def __init__(self, folder: Path, names: list[tuple[str, str]]) -> None:
        self.changes: list[tuple[str, str, ModelState]] = []
        self.changed = asyncio.Event()
        self.open_session: Callable[[Path], object] = session_of
        sources = []
        for model, version in names:
            path = folder / model / version / "model.onnx"
            path.parent.mkdir(parents=True)
            path.touch()
            sources.append(stored(path.parent))
        self.sources = {(source.model, source.version): source for source in sources}
        self.registry = Registry(sources, "yolo", "v1", self._open, 1000, self._on_change)

    def _open(self, path: Path) -> object:
        return self.open_session(path)

    async def _on_change(self, version: ModelVersion) -> None:
        await asyncio.sleep(0)
        self.changes.append((version.model, version.version, version.state))
        self.changed.set()


@pytest.fixture
def held(tmp_path: Path) -> Registered:
    return Registered(tmp_path, [("yolo", "v2"), ("yolo", "v1"), ("codes", "v1")])


async def test_versions_are_loading_until_they_are_loaded(held: Registered) -> None:
    assert {version.state for version in held.registry.versions()} == {ModelState.LOADING}
    assert not held.registry.settled
    with pytest.raises(VersionLoading) as caught:
        held.registry.ready("yolo", "v1")
    assert caught.value.retry_after_s > 0
    await held.registry.load_all()
    assert {version.state for version in held.registry.versions()} == {ModelState.READY}
    assert held.registry.settled


async def test_versions_are_listed_by_model_and_version(held: Registered) -> None:
    assert [(v.model, v.version) for v in held.registry.versions()] == [("codes", "v1"), ("yolo", "v1"), ("yolo", "v2")]


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        (("", ""), ("yolo", "v1")),
        (("yolo", ""), ("yolo", "v1")),
        (("", "v2"), ("yolo", "v2")),
        (("codes", ""), ("codes", "v1")),
        (("yolo", "v2"), ("yolo", "v2")),
    ],
)
async def test_a_name_that_is_empty_means_the_default(
    held: Registered, asked: tuple[str, str], answers: tuple[str, str]
) -> None:
    await held.registry.load_all()
    found, loaded = held.registry.ready(*asked)
    assert (found.model, found.version) == answers
    assert loaded is found.loaded
    assert loaded.signature.digest == f"sha256:{answers[1]}"


@pytest.mark.parametrize(("model", "version"), [("yolo", "v3"), ("codes", "v2"), ("", "v3")])
async def test_a_version_that_is_not_held_is_another_error_than_a_model_that_is_not(
    held: Registered, model: str, version: str
) -> None:
    with pytest.raises(VersionNotHeld) as caught:
        held.registry.ready(model, version)
    assert caught.value.resource == f"models/{model or 'yolo'}/versions/{version}"
    with pytest.raises(ModelNotFound) as unknown:
        held.registry.ready("other", version)
    assert unknown.value.resource == "models/other"


async def test_the_default_version_is_never_another_that_happens_to_be_there(tmp_path: Path) -> None:
    held = Registered(tmp_path, [("yolo", "v2")])
    await held.registry.load_all()
    with pytest.raises(VersionNotHeld):
        held.registry.ready("yolo", "")


async def test_a_version_that_fails_leaves_the_others_alone(held: Registered) -> None:
    def open_session(path: Path) -> FakeSession:
        if path.parent.name == "v2":
            raise ModelInvalid(f"{path}: broken")
        return session_of(path)

    held.open_session = open_session
    await held.registry.load_all()
    assert held.registry.settled
    held.registry.ready("yolo", "v1")
    held.registry.ready("codes", "v1")
    with pytest.raises(VersionFailed) as caught:
        held.registry.ready("yolo", "v2")
    assert "broken" not in caught.value.message
    failed = held.registry.find("yolo", "v2")
    assert failed.state is ModelState.FAILED
    assert failed.failure.endswith("model.onnx: broken")
    assert failed.loaded is None


async def test_an_unexpected_error_is_logged_and_fails_only_its_version(
    held: Registered, caplog: pytest.LogCaptureFixture
) -> None:
    def open_session(path: Path) -> FakeSession:
        if path.parent.name == "v2":
            raise RuntimeError("surprise")
        return session_of(path)

    held.open_session = open_session
    await held.registry.load_all()
    assert held.registry.find("yolo", "v2").state is ModelState.FAILED
    assert held.registry.find("yolo", "v2").failure == "unexpected error; the log has its traceback"
    assert held.registry.find("yolo", "v1").state is ModelState.READY
    assert "surprise" in caplog.text


async def test_a_missing_file_is_a_failure_that_names_what_told_of_it(held: Registered) -> None:
    source = held.sources["yolo", "v1"]
    source.path.unlink()
    await held.registry.load_all()
    assert held.registry.find("yolo", "v1").failure == f"{source.origin}: there is no file {source.path}"


async def test_a_model_that_is_no_detector_is_a_failure_that_names_its_file(held: Registered) -> None:
    source = held.sources["yolo", "v1"]
    source.manifest_path.write_text("class_names: [a, b, c]")
    await held.registry.load_all()
    assert held.registry.find("yolo", "v1").failure.startswith(f"{source.path}: manifest.yaml has 3 class names")


async def test_nothing_is_settled_while_all_have_failed_or_there_is_nothing(held: Registered, tmp_path: Path) -> None:
    held.open_session = lambda path: (_ for _ in ()).throw(ModelInvalid(str(path)))
    await held.registry.load_all()
    assert not held.registry.settled
    empty = Registered(tmp_path / "empty", [])
    await empty.registry.load_all()
    assert not empty.registry.settled
    with pytest.raises(ModelNotFound, match="yolo"):
        empty.registry.ready("", "")


async def test_every_change_is_told_and_waited_for(held: Registered) -> None:
    await held.registry.load_all()
    assert sorted(held.changes, key=lambda change: change[:2]) == [
        ("codes", "v1", ModelState.READY),
        ("yolo", "v1", ModelState.READY),
        ("yolo", "v2", ModelState.READY),
    ]


async def test_a_version_is_told_of_while_another_still_loads(held: Registered) -> None:
    gate = threading.Event()

    def open_session(path: Path) -> FakeSession:
        if path.parent.name == "v2":
            assert gate.wait(TIMEOUT_S)
        return session_of(path)

    held.open_session = open_session
    loading = asyncio.create_task(held.registry.load_all())
    async with asyncio.timeout(TIMEOUT_S):
        while len(held.changes) < 2:  # the loop keeps running: loading is done on threads
            await held.changed.wait()
            held.changed.clear()
        assert not held.registry.settled
        held.registry.ready("yolo", "v1")
        gate.set()
        await loading
    assert held.registry.settled
