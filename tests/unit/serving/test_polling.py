"""What is done about changes of a repository, and when. Looks are taken when the test says so."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from support.loading import Loading, session_of

from detector_grpc.errors import ModelInvalid, SetupInvalid
from detector_grpc.serving.polling import Poller
from detector_grpc.serving.registry import ModelState

if TYPE_CHECKING:
    from pathlib import Path

    from support.sessions import FakeSession

V1, V2, V3 = (("yolo", version) for version in ("v1", "v2", "v3"))


class Polled(Loading):
    """Two loaded versions, and what looks at their repository."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, [V1, V2])
        self.poller = Poller(folder, 0.01, self.loader)

    async def look(self, times: int = 1) -> None:
        for _ in range(times):
            await self.poller.look()

    def held(self) -> dict[str, str]:
        """Digest of every version that answers."""
        return {
            version.version: version.loaded.signature.digest for version in self.registry.versions() if version.loaded
        }

    def remove(self, version: str) -> None:
        shutil.rmtree(self.folder / "yolo" / version)


@pytest.fixture
async def polled(tmp_path: Path) -> Polled:
    made = Polled(tmp_path)
    await made.loader.load_all()
    return made


async def test_nothing_is_done_while_nothing_changes(polled: Polled) -> None:
    opened = len(polled.opened)
    await polled.look(3)
    assert len(polled.opened) == opened


async def test_a_new_version_is_loaded_at_the_second_look(polled: Polled) -> None:
    polled.write(*V3, "third")
    await polled.look()
    assert polled.held() == {"v1": "first", "v2": "first"}
    await polled.look()
    assert polled.held() == {"v1": "first", "v2": "first", "v3": "third"}


async def test_a_version_that_has_changed_is_replaced_at_the_second_look(polled: Polled) -> None:
    polled.write(*V1, "second")
    await polled.look()
    assert polled.held()["v1"] == "first"
    await polled.look()
    assert polled.held() == {"v1": "second", "v2": "first"}


async def test_a_version_that_is_gone_is_unloaded_at_the_second_look(polled: Polled) -> None:
    polled.remove("v1")
    await polled.look()
    assert polled.held().keys() == {"v1", "v2"}
    await polled.look()
    assert polled.held().keys() == {"v2"}


async def test_a_version_that_is_gone_is_given_up_once(polled: Polled, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    load = polled.loader.load

    async def spy(*names: str) -> object:
        asked.append(names)
        return await load(*names)

    monkeypatch.setattr(polled.loader, "load", spy)
    polled.remove("v1")
    await polled.look(5)
    assert asked == [V1]


async def test_a_version_that_is_gone_for_one_look_only_stays(polled: Polled) -> None:
    polled.remove("v1")
    await polled.look()
    polled.write(*V1, "again")
    await polled.look()
    assert polled.held()["v1"] == "first"
    await polled.look()
    assert polled.held()["v1"] == "again"


@pytest.mark.parametrize("name", ["v1", "v3"])
async def test_a_file_that_grows_is_left_alone_until_it_has_stopped(polled: Polled, name: str) -> None:
    before = polled.held().get(name)
    content = ""
    for part in ("a", "bc", "d", "e"):
        content += part
        polled.write("yolo", name, content)
        await polled.look()
        assert polled.held().get(name) == before
    await polled.look()
    assert polled.held()[name] == "abcde"


async def test_a_part_that_comes_after_the_model_file_is_waited_for(polled: Polled) -> None:
    path = polled.write(*V3)
    await polled.look()
    path.with_name("manifest.yaml").write_text("class_names: [cat, dog]")
    await polled.look()
    assert "v3" not in polled.held()
    await polled.look()
    assert polled.registry.ready(*V3)[1].spec.class_names == ("cat", "dog")


async def test_what_failed_is_tried_again_only_when_its_files_are_others(polled: Polled) -> None:
    tried = []

    def broken(path: Path) -> FakeSession:
        tried.append(path)
        raise ModelInvalid(f"{path}: broken")

    polled.open_session = broken
    polled.write(*V1, "second")
    polled.write(*V3, "third")
    await polled.look(5)
    assert len(tried) == 2
    assert polled.held() == {"v1": "first", "v2": "first"}
    polled.open_session = session_of
    polled.write(*V3, "better")
    await polled.look(2)
    assert polled.held() == {"v1": "first", "v2": "first", "v3": "better"}


async def test_a_version_that_had_failed_at_the_start_is_loaded_when_it_is_mended(tmp_path: Path) -> None:
    polled = Polled(tmp_path)
    polled.open_session = lambda path: session_of(path) if path.read_text() == "mended" else broken_file(path)
    await polled.loader.load_all()
    await polled.look(3)
    assert polled.registry.find(*V1).state is ModelState.FAILED
    polled.write(*V1, "mended")
    await polled.look(2)
    assert polled.held() == {"v1": "mended"}


async def test_a_change_between_the_first_look_and_the_start_is_not_missed(tmp_path: Path) -> None:
    polled = Polled(tmp_path)
    await polled.loader.load_all()
    polled.write(*V1, "late")
    await polled.look(2)
    assert polled.held()["v1"] == "late"


async def test_what_an_operator_did_stays_done(polled: Polled) -> None:
    await polled.loader.unload(*V1)
    polled.write(*V3, "third")
    await polled.loader.load(*V3)
    opened = len(polled.opened)
    await polled.look(3)
    assert polled.held().keys() == {"v2", "v3"}
    assert len(polled.opened) == opened
    polled.remove("v1")
    await polled.look(2)  # it is gone, and not held
    assert polled.held().keys() == {"v2", "v3"}


async def test_a_repository_that_cannot_be_read_or_is_empty_unloads_nothing_and_is_told_once(
    polled: Polled, caplog: pytest.LogCaptureFixture
) -> None:
    away = polled.folder.with_name("away")
    polled.folder.rename(away)
    await polled.look(3)
    polled.folder.mkdir()  # as a mount point without its volume is
    await polled.look(3)
    assert polled.held().keys() == {"v1", "v2"}
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert all(str(polled.folder) in record.message for record in caplog.records)
    polled.folder.rmdir()
    away.rename(polled.folder)
    polled.write(*V1, "second")
    await polled.look(2)
    assert polled.held() == {"v1": "second", "v2": "first"}
    polled.folder.rename(away)
    polled.folder.mkdir()
    await polled.look(2)
    assert len(caplog.records) == 3


async def test_a_name_that_cannot_be_used_is_told_and_nothing_is_touched(
    polled: Polled, caplog: pytest.LogCaptureFixture
) -> None:
    polled.write("yolo", "v 3")
    await polled.look(3)
    assert polled.held().keys() == {"v1", "v2"}
    assert len([record for record in caplog.records if '"v 3"' in record.message]) == 1


def test_a_repository_that_cannot_be_read_at_the_start_is_the_operators_fault(tmp_path: Path) -> None:
    with pytest.raises(SetupInvalid, match="missing"):
        Poller(tmp_path / "missing", 1, Loading(tmp_path, []).loader)


def broken_file(path: Path) -> FakeSession:
    raise ModelInvalid(f"{path}: broken")
