from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.drift import NOON_S, observations

from detector_grpc.drift import files, reference_file
from detector_grpc.drift.audit import AUDIT_FILE, Audit
from detector_grpc.drift.evidence import DriftState
from detector_grpc.drift.keeper import Keeper
from detector_grpc.drift.monitor import Bounds, Monitor
from detector_grpc.drift.observation import Watched
from detector_grpc.drift.series import Shape
from detector_grpc.drift.station import Station
from detector_grpc.drift.store import FILE, Store
from detector_grpc.errors import NotWatched, ReferenceInvalid, SetupInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from detector_grpc.drift.observation import Observation

SHAPE = Shape(block=20, first=10, learn_days_s=86400.0)
V1 = Watched("coco", "v1")


class Office:
    """A station that can be closed and opened again, and its clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.references = folder / "references.json"
        self.now_s = NOON_S
        self.open()

    def open(self) -> None:
        self.store = Store(self.folder)
        self.monitor = Monitor(SHAPE, bounds=Bounds(per_s=10_000))
        keeper = Keeper(self.monitor, self.store, self.references, Audit(self.folder), 200, lambda: self.now_s)
        self.station = Station(self.monitor, keeper, 200, lambda: self.now_s)

    def take(self, seen: list[Observation], digest: str = "a") -> int:
        """In batches, a second apart."""
        taken = 0
        for start in range(0, len(seen), 7):
            self.now_s += 1
            taken += self.station.take(V1, digest, seen[start : start + 7])
        return taken

    def audit(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.folder / AUDIT_FILE).read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.store.close()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def state(office: Office) -> DriftState:
    return office.station.statuses(*V1)[0].series.state


@pytest.mark.parametrize("count", [5, 199, 200, 213, 265, 300])
def test_whoever_dies_goes_on_where_it_was(office: Office, rng: np.random.Generator, count: int) -> None:
    """Without being closed: what `take` has answered is on disk."""
    seen = observations(rng, 240, "hall") + observations(rng, 60, "hall", noise=90)
    office.take(seen[:count])
    before = office.station.statuses()[0]

    office.open()

    after = office.station.statuses()[0]
    assert (after.series.state, after.series.since_s) == (before.series.state, before.series.since_s)
    assert after.series.observations == before.series.observations
    assert [(f.feature.name, f.evidence, f.words) for f in after.series.features] == [
        (f.feature.name, f.evidence, f.words) for f in before.series.features
    ]
    assert after.group_states == before.group_states
    office.take(seen[count:])
    assert state(office) is DriftState.DRIFTED


def test_days_that_were_learned_are_not_forgotten(office: Office, rng: np.random.Generator) -> None:
    office.take(observations(rng, 200))
    office.now_s += 5 * 3600
    office.take(observations(rng, 40))
    before = office.monitor.versions[V1].series.days
    assert before is not None

    office.open()

    after = office.monitor.versions[V1].series.days
    assert after is not None
    assert [each.at_s for each in after.blocks()] == [each.at_s for each in before.blocks()]
    assert (after.covered_s, after.seen) == (before.covered_s, before.seen)


def test_the_alarm_is_counted_once(office: Office, rng: np.random.Generator) -> None:
    office.take(observations(rng, 200) + observations(rng, 200, noise=90))

    assert office.station.alarms[V1] == 1


def test_what_does_not_count_is_counted(office: Office, rng: np.random.Generator) -> None:
    endless = observations(rng, 2)
    endless[0].values[0] = np.inf

    assert office.station.take(V1, "a", endless, lost=40) == 1
    assert office.station.statuses()[0].lost == {"not_finite": 1, "undelivered": 40}


def test_the_world_as_it_is_now_can_be_made_the_reference(office: Office, rng: np.random.Generator) -> None:
    office.take(observations(rng, 200) + observations(rng, 60, noise=90))
    assert state(office) is DriftState.DRIFTED
    with pytest.raises(ReferenceInvalid, match="needs 200 observations"):  # not from before the change
        office.station.use_recent(V1, "ann")

    office.take(observations(rng, 200, noise=90))
    after, before = office.station.use_recent(V1, "ann")

    assert after is not None
    assert before is not None
    assert before.source == "first 200 observations"
    assert state(office) is DriftState.STABLE
    office.take(observations(rng, 60, noise=90))
    assert state(office) is DriftState.STABLE
    learned, entry = office.audit()
    assert (learned["caller"], learned["before"]) == ("(learned)", None)
    assert learned["after"] == entry["before"]
    assert entry["caller"] == "ann"
    assert entry["before"] == {"source": before.source, "made_at": before.made_at_s, "observations": 200}
    assert entry["after"] == {"source": after.source, "made_at": after.made_at_s, "observations": 200}


def test_one_can_go_back_to_a_reference(office: Office, rng: np.random.Generator) -> None:
    office.take(observations(rng, 200) + observations(rng, 240, noise=90))
    office.station.use_recent(V1, "ann")
    assert list(office.station.past(V1)) == [2, 1]

    after, _ = office.station.use_past(V1, 1, "ann")

    assert after is not None
    assert after.source == "first 200 observations"
    office.take(observations(rng, 60, noise=90))
    assert state(office) is DriftState.DRIFTED
    with pytest.raises(ReferenceInvalid, match="there is no reference 9"):
        office.station.use_past(V1, 9, "ann")


def test_references_can_be_carried_from_version_to_version(office: Office, rng: np.random.Generator) -> None:
    office.take(observations(rng, 200))
    text = office.references.read_text(encoding="utf-8")
    office.station.learn(V1, "ann")
    assert state(office) is DriftState.LEARNING

    after, before = office.station.use_file(V1, text, "ann")

    assert before is None
    assert after is not None
    assert after.observations == 200
    assert state(office) is DriftState.STABLE


def test_a_file_that_is_none_changes_nothing(office: Office, rng: np.random.Generator) -> None:
    office.take(observations(rng, 200))
    text = office.references.read_text(encoding="utf-8")

    with pytest.raises(ReferenceInvalid):
        office.station.use_file(V1, text[:-10], "ann")

    assert office.references.read_text(encoding="utf-8") == text
    assert state(office) is DriftState.STABLE
    assert len(office.audit()) == 1  # what was learned


def test_a_broken_reference_file_at_start_leaves_the_one_that_is_known(
    office: Office, rng: np.random.Generator
) -> None:
    office.take(observations(rng, 200))
    office.references.write_text('{"schema": 1, "references": [', encoding="utf-8")

    office.open()

    assert state(office) is DriftState.STABLE
    office.station.use_past(V1, 1, "ann")
    (kept,) = office.folder.glob("references.json.kept-*")
    assert kept.read_text(encoding="utf-8") == '{"schema": 1, "references": ['
    assert len(reference_file.read(office.references, 200)) == 1


def test_a_reference_file_is_enough_to_begin_with(office: Office, rng: np.random.Generator, tmp_path: Path) -> None:
    office.take(observations(rng, 200))
    other = tmp_path / "other"
    other.mkdir()
    (other / "references.json").write_text(office.references.read_text(encoding="utf-8"), encoding="utf-8")

    elsewhere = Office(other)

    assert state(elsewhere) is DriftState.STABLE
    elsewhere.take(observations(rng, 60, noise=90))
    assert state(elsewhere) is DriftState.DRIFTED
    elsewhere.store.close()


def test_what_nobody_watches_is_said_to_be_so(office: Office, rng: np.random.Generator) -> None:
    assert office.station.statuses() == []
    office.take(observations(rng, 1))

    with pytest.raises(NotWatched, match=r"'v9' of model 'coco'; it is of: coco/v1"):
        office.station.statuses("coco", "v9")
    with pytest.raises(NotWatched):
        office.station.use_recent(Watched("coco", "v9"), "ann")
    assert office.station.only("", "") == V1


def test_a_full_disk_is_said_and_stops_nothing(
    office: Office, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.take(observations(rng, 100))

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(office.store, "write", full)
        office.take(observations(rng, 100))
        assert not office.station.stored
        assert state(office) is DriftState.STABLE

    office.take(observations(rng, 1))
    assert office.station.stored
    office.open()
    assert state(office) is DriftState.STABLE


def test_another_model_file_begins_anew_and_keeps_the_references(office: Office, rng: np.random.Generator) -> None:
    office.take(observations(rng, 200))
    office.now_s += 100
    office.take(observations(rng, 5), digest="b")
    assert state(office) is DriftState.LEARNING

    office.open()

    assert state(office) is DriftState.LEARNING
    assert list(office.station.past(V1)) == [1]


def test_what_is_kept_can_be_broken(office: Office, rng: np.random.Generator, tmp_path: Path) -> None:
    office.take(observations(rng, 100))
    office.store.close()
    for leftover in tmp_path.glob(f"{FILE}*"):
        leftover.unlink()
    (tmp_path / FILE).write_bytes(b"no database" * 1000)

    office.open()

    assert office.station.statuses() == []
    assert len(list(tmp_path.glob("*.kept-*"))) == 1


def test_a_page_of_what_is_kept_can_be_broken(office: Office, rng: np.random.Generator, tmp_path: Path) -> None:
    """What is broken in the middle of a file is found when the process starts, not when it is needed."""
    office.take(observations(rng, 240, "hall"))
    office.store._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    office.store.close()
    broken = bytearray((tmp_path / FILE).read_bytes())
    broken[4096 * 3 : 4096 * 5] = bytes(rng.integers(0, 256, 4096 * 2, np.uint8))
    (tmp_path / FILE).write_bytes(broken)

    office.open()

    assert len(list(tmp_path.glob(f"{FILE}.kept-*"))) == 1
    assert state(office) is DriftState.STABLE  # the reference file is there


def test_a_folder_that_cannot_be_written_to_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(SetupInvalid, match="cannot keep the state of drift"):
        Store(tmp_path / "file" / "folder")


def test_what_a_killed_process_had_not_written_yet_is_written(office: Office, rng: np.random.Generator) -> None:
    """The state is written before the reference file."""
    office.take(observations(rng, 200))
    office.references.unlink()

    office.open()

    (kept,) = reference_file.read(office.references, 200)
    assert kept.reference.source == "first 200 observations"
    assert list(office.station.past(V1)) == [1]


def test_a_reference_that_is_not_used_is_kept(office: Office, rng: np.random.Generator) -> None:
    office.take(observations(rng, 200))
    old = office.references.read_text(encoding="utf-8")
    office.now_s += 10
    office.station.learn(V1, "ann")
    office.take(observations(rng, 200))
    office.references.write_text(old, encoding="utf-8")

    office.open()
    assert office.references.read_text(encoding="utf-8") == old
    office.station.use_past(V1, 1, "ann")

    (kept,) = office.folder.glob("references.json.kept-*")
    assert kept.read_text(encoding="utf-8") == old


def test_a_reference_of_the_file_is_written_down_too(office: Office, rng: np.random.Generator, tmp_path: Path) -> None:
    office.take(observations(rng, 200))
    other = tmp_path / "other"
    other.mkdir()
    (other / "references.json").write_text(office.references.read_text(encoding="utf-8"), encoding="utf-8")

    elsewhere = Office(other)

    (entry,) = elsewhere.audit()
    assert (entry["caller"], entry["before"]) == ("(reference file)", None)
    assert list(elsewhere.station.past(V1)) == [1]
    elsewhere.store.close()


def test_learning_the_hours_is_written_down(office: Office, rng: np.random.Generator) -> None:
    while len(office.audit() if (office.folder / AUDIT_FILE).exists() else ()) < 2:
        office.now_s += 1800
        office.take(observations(rng, 70))

    first, daily = office.audit()
    assert daily["caller"] == "(learned)"
    assert daily["before"] == first["after"]
    assert "hours" in str(daily["after"])
    assert office.station.past(V1)[2].daily


def test_another_model_file_is_written_down(office: Office, rng: np.random.Generator) -> None:
    office.take(observations(rng, 200))
    office.now_s += 100
    office.take(observations(rng, 5), digest="b")

    assert [(each["caller"], each["after"]) for each in office.audit()[1:]] == [("(new model file)", None)]


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_what_cannot_be_written_down_is_written_later(
    office: Office, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.take(observations(rng, 200))
    with monkeypatch.context() as patch:
        patch.setattr(files, "append", full_disk)
        patch.setattr(reference_file, "write", full_disk)
        office.station.learn(V1, "ann")
        assert not office.station.stored
    assert len(office.audit()) == 1

    office.take(observations(rng, 1))

    assert office.station.stored
    assert [each["caller"] for each in office.audit()] == ["(learned)", "ann"]
    assert reference_file.read(office.references, 200) == []


def test_hours_are_collected_anew_for_another_reference(office: Office, rng: np.random.Generator) -> None:
    """Or those of the world before would be among them."""
    office.take(observations(rng, 200))
    office.now_s += 5 * 3600
    office.take(observations(rng, 60))
    text = office.references.read_text(encoding="utf-8")
    assert len(office.monitor.versions[V1].series.days.kept) == 2

    office.station.use_file(V1, text, "ann")

    days = office.monitor.versions[V1].series.days
    assert len(days.kept) == 1
    assert days.covered_s < 60
    office.open()
    after = office.monitor.versions[V1].series.days
    assert {hour: len(kept) for hour, kept in after.kept.items()} == {
        hour: len(kept) for hour, kept in days.kept.items()
    }


def test_the_world_as_it_is_now_is_that_since_it_changed_whatever_the_clock_says(
    office: Office, rng: np.random.Generator
) -> None:
    office.take(observations(rng, 200) + observations(rng, 60, noise=90))
    office.now_s -= 1e6

    office.take(observations(rng, 200, noise=90))

    after, _ = office.station.use_recent(V1, "ann")
    assert after is not None
    assert after.observations == 200


def test_bytes_that_are_broken_cost_one_series(office: Office, rng: np.random.Generator) -> None:
    office.take(observations(rng, 240, "hall") + observations(rng, 240, "yard"))
    with office.store._database as database:
        database.execute("UPDATE part SET body = ? WHERE stream = 'hall' AND name = 'reference'", (b"PK\x03\x04 zip",))

    office.open()

    version = office.monitor.versions[V1]
    assert list(version.groups) == ["yard"]
    assert version.series.state is DriftState.STABLE
    office.take(observations(rng, 5, "hall"))
    office.open()
    hall = office.monitor.versions[V1].groups["hall"]
    assert hall.state is DriftState.LEARNING
    assert not hall.window  # nothing of before


def test_groups_are_restored_in_the_order_in_which_they_were_heard(office: Office, rng: np.random.Generator) -> None:
    for name in ("zoo", "attic", "hall"):
        office.take(observations(rng, 12, name))

    office.open()

    assert list(office.monitor.versions[V1].groups) == ["zoo", "attic", "hall"]


def test_versions_for_which_there_is_no_room_are_counted(
    office: Office, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(Bounds().versions):
        office.station.take(Watched("coco", f"w{number}"), "a", observations(rng, 1))

    assert office.station.take(V1, "a", observations(rng, 3), lost=2) == 0
    assert office.station.turned_away == 5
    assert "no room" in caplog.text

    office.now_s += 2 * 86400
    office.station.take(Watched("coco", "w1"), "a", observations(rng, 1))
    assert office.station.take(V1, "a", observations(rng, 3)) == 3
    assert Watched("coco", "w0") not in office.monitor.versions
    office.open()
    assert set(office.monitor.versions) == {
        V1,
        *(Watched("coco", f"w{number}") for number in range(1, Bounds().versions)),
    }
