"""What is to be erased is erased, wherever it is, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.samples import NOON, sample

from detector_grpc.capture.erasure import Selection, erase, erase_waiting, sidecars
from detector_grpc.capture.files import UNFINISHED
from detector_grpc.capture.sinks.folder import FolderSink
from detector_grpc.capture.sinks.sink import delete_sample, put_sample
from detector_grpc.capture.spool import ASIDE, Spool, SpoolLimits, spool_folder

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = [
    sample(b"0", stream_id="hall", request_id="r0"),
    sample(b"1", stream_id="hall", request_id="r1", captured_at=NOON + timedelta(days=1)),
    sample(b"2", stream_id="yard", request_id="r2", captured_at=NOON + timedelta(days=1)),
    sample(b"3", request_id="r3", captured_at=NOON + timedelta(days=2)),
]

SELECTIONS = [
    (Selection(stream_id="hall"), "01"),
    (Selection(request_id="r2"), "2"),
    (Selection(since=NOON + timedelta(days=1)), "123"),
    (Selection(until=NOON + timedelta(days=1)), "0"),
    (Selection(stream_id="hall", since=NOON + timedelta(hours=1)), "1"),
    (Selection(since=datetime(2026, 3, 2, 13, tzinfo=UTC), until=datetime(2026, 3, 3, 12, tzinfo=UTC)), ""),
    (Selection(stream_id="hall", request_id="r2"), ""),
]


@pytest.mark.parametrize(("selection", "erased"), SELECTIONS)
def test_in_a_sink(tmp_path: Path, selection: Selection, erased: str) -> None:
    sink = FolderSink(tmp_path)
    for each in SAMPLES:
        put_sample(sink, each)

    gone = [each.request_id for each in erase(sink, selection)]

    assert sorted(gone) == [f"r{number}" for number in erased]
    left = {sink.get(key).decode() for key in sink.walk() if key.endswith(".jpg")}
    assert left == set("0123") - set(erased)
    assert len(list(sink.walk())) == 2 * len(left)
    assert len(list(tmp_path.rglob("v1"))) == len(
        {s.sidecar.captured_at for s in SAMPLES if s.picture.decode() in left}
    )


@pytest.mark.parametrize(("selection", "erased"), SELECTIONS)
def test_in_spools_of_all_processes_and_what_was_set_aside(tmp_path: Path, selection: Selection, erased: str) -> None:
    spools = [Spool(spool_folder(tmp_path, sink), SpoolLimits(10**9, 1e12, "oldest")) for sink in ("one", "one", "two")]
    for number, each in enumerate(SAMPLES):
        spools[number % 3].add(each)
    aside = tmp_path / "spool" / ASIDE / "x.sample"
    aside.parent.mkdir()
    aside.write_bytes(b"whose this is nobody knows")

    gone = list(erase_waiting(tmp_path, selection))

    assert len(gone) == len(erased) + 1
    assert not aside.exists()
    left = {read.picture.decode() for spool in spools for read in _all(spool)}
    assert left == set("0123") - set(erased)


def _all(spool: Spool) -> list:  # type: ignore[type-arg]
    found = []
    while (name := spool.oldest(set())) is not None:
        with spool.reading(name) as read:
            found += [read] if read else []
        spool.remove(name)
    return found


def test_a_sidecar_leads_to_no_other_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = FolderSink(tmp_path / "a" / "sink")
    hostile = sample(b"0", model="..", version="..")
    sink.put("2026-03-01/m/v1/0.json", hostile.sidecar.to_json(), "")
    outside = tmp_path / "a" / "sink" / hostile.sidecar.keys.picture
    outside.resolve().write_bytes(b"of somebody else")

    assert list(erase(sink, Selection(since=NOON - timedelta(days=9)))) == []
    assert outside.resolve().exists()
    assert "2026-03-01/m/v1/0.json is the sidecar of 2026-03-01/../../" in caplog.text


def test_what_goes_while_it_is_looked_for_is_passed_over(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path)
    for each in SAMPLES:
        put_sample(sink, each)

    found = sidecars(sink, Selection())
    next(found)
    delete_sample(sink, SAMPLES[1].sidecar)

    assert {each.request_id for each in found} <= {"r2", "r3"}


def test_what_a_process_has_left_half_written_goes_with_its_sample(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path)
    put_sample(sink, SAMPLES[0])
    picture = tmp_path / SAMPLES[0].sidecar.keys.picture
    half = picture.with_name(f"{UNFINISHED}77-{picture.name}")
    half.write_bytes(b"ha")

    assert len(list(erase(sink, Selection(request_id="r0")))) == 1

    assert not half.exists()


def test_what_is_no_sample_of_ours_stays_and_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = FolderSink(tmp_path)
    sink.put("2026-03-01/m/v1/notes.json", b"{}", "")

    assert list(erase(sink, Selection(since=NOON - timedelta(days=9)))) == []
    assert list(sink.walk()) == ["2026-03-01/m/v1/notes.json"]
    assert "2026-03-01/m/v1/notes.json is no sidecar" in caplog.text
