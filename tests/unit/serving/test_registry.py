"""Which versions there are, and which of them answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.loading import Loading, session_of

from detector_grpc.errors import ModelInvalid, ModelNotFound, VersionFailed, VersionLoading, VersionNotHeld
from detector_grpc.serving.registry import ModelState
from detector_grpc.serving.session import CPU_PROVIDER

if TYPE_CHECKING:
    from pathlib import Path

    from support.sessions import FakeSession


@pytest.fixture
def held(tmp_path: Path) -> Loading:
    return Loading(tmp_path, [("yolo", "v2"), ("yolo", "v1"), ("codes", "v1")])


def without_v2(path: Path) -> FakeSession:
    if path.parent.name == "v2":
        raise ModelInvalid(f"{path}: broken")
    return session_of(path)


async def test_versions_are_loading_until_they_are_loaded(held: Loading) -> None:
    assert {version.state for version in held.registry.versions()} == {ModelState.LOADING}
    with pytest.raises(VersionLoading) as caught:
        held.registry.ready("yolo", "v1")
    assert caught.value.retry_after_s > 0
    await held.loader.load_all()
    assert {version.state for version in held.registry.versions()} == {ModelState.READY}
    held.registry.ready("yolo", "v1")


async def test_versions_are_listed_by_model_and_version(held: Loading) -> None:
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
    held: Loading, asked: tuple[str, str], answers: tuple[str, str]
) -> None:
    await held.loader.load_all()
    found, loaded = held.registry.ready(*asked)
    assert (found.model, found.version) == answers
    assert loaded is found.loaded
    assert held.registry.is_default(*answers) == (asked == ("", "") or answers == ("yolo", "v1"))


@pytest.mark.parametrize(("model", "version"), [("yolo", "v3"), ("codes", "v2"), ("", "v3")])
async def test_a_version_that_is_not_held_is_another_error_than_a_model_that_is_not(
    held: Loading, model: str, version: str
) -> None:
    with pytest.raises(VersionNotHeld) as caught:
        held.registry.ready(model, version)
    assert caught.value.resource == f"models/{model or 'yolo'}/versions/{version}"
    with pytest.raises(ModelNotFound) as unknown:
        held.registry.ready("other", version)
    assert unknown.value.resource == "models/other"


async def test_the_default_version_is_never_another_that_happens_to_be_there(tmp_path: Path) -> None:
    held = Loading(tmp_path, [("yolo", "v2")])
    await held.loader.load_all()
    with pytest.raises(VersionNotHeld):
        held.registry.ready("yolo", "")


async def test_a_version_that_failed_says_so_to_callers_and_why_to_the_operator(held: Loading) -> None:
    held.open_session = without_v2
    await held.loader.load_all()
    with pytest.raises(VersionFailed) as caught:
        held.registry.ready("yolo", "v2")
    assert "broken" not in caught.value.message
    failed = held.registry.find("yolo", "v2")
    assert failed.failure.endswith("model.onnx: broken")
    assert failed.loaded is None


async def test_the_providers_of_those_that_answer_are_told(held: Loading) -> None:
    held.open_session = without_v2
    assert held.registry.providers() == []
    await held.loader.load_all()
    assert held.registry.providers() == [("codes", "v1", CPU_PROVIDER), ("yolo", "v1", CPU_PROVIDER)]


class TestServing:
    async def test_begins_when_every_version_of_the_start_has_settled(self, held: Loading) -> None:
        held.open_session = without_v2
        assert not held.registry.serving
        await held.loader.load_all()
        assert held.registry.serving

    @pytest.mark.parametrize("names", [[], [("yolo", "v2")]], ids=["none", "failed"])
    async def test_needs_a_version_that_is_ready(self, tmp_path: Path, names: list[tuple[str, str]]) -> None:
        held = Loading(tmp_path, names)
        held.open_session = without_v2
        await held.loader.load_all()
        assert not held.registry.serving
        held.write("yolo", "v1")
        await held.loader.load("yolo", "v1")
        assert held.registry.serving

    async def test_ends_with_the_last_version(self, held: Loading) -> None:
        await held.loader.load_all()
        for version in held.registry.versions():
            assert held.registry.serving
            await held.loader.unload(version.model, version.version)
        assert not held.registry.serving
