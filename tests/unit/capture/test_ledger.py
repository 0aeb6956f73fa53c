"""What is worth keeping beside what was kept."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from support.samples import scene

from detector_grpc.capture.erasure import Selection
from detector_grpc.capture.ledger import FILE, Admission, Budget, Ledger, Origin, Verdict
from detector_grpc.vision.fingerprint import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOMY = Budget(1000, 1000, 0.0)
HOUR_S = 3600


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path, ROOMY)
    yield ledger
    ledger.close()


def admit(ledger: Ledger, seed: int, now: float = 1e9, stream: str = "", version: str = "v1") -> Admission:
    return ledger.admit(Origin("m", version, stream, f"request-{seed}"), fingerprint(scene(seed)), now)


def verdicts(ledger: Ledger, *seeds: int, stream: str = "") -> list[Verdict]:
    return [admit(ledger, seed, stream=stream).verdict for seed in seeds]


def test_a_scene_is_kept_once_by_each_stream_and_version(ledger: Ledger) -> None:
    assert verdicts(ledger, 1, 1, 2, 1) == [Verdict.ADMITTED, Verdict.DUPLICATE, Verdict.ADMITTED, Verdict.DUPLICATE]
    assert verdicts(ledger, 1, stream="hall") == [Verdict.ADMITTED]
    assert admit(ledger, 1, version="v2").verdict is Verdict.ADMITTED


def test_a_scene_is_remembered_for_a_week(ledger: Ledger) -> None:
    admit(ledger, 1, now=1e9)

    assert admit(ledger, 1, now=1e9 + 6 * 24 * HOUR_S).verdict is Verdict.DUPLICATE
    assert admit(ledger, 1, now=1e9 + 8 * 24 * HOUR_S).verdict is Verdict.ADMITTED


def test_an_hour_has_so_many_and_the_answer_says_when_there_is_room_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, Budget(2, 1000, 0.0))
    admit(ledger, 1, now=1000)
    admit(ledger, 2, now=1600)

    refused = admit(ledger, 3, now=2000)

    assert refused == Admission(Verdict.OVER_BUDGET, wait_s=2600)
    assert admit(ledger, 3, now=2000 + 2600).verdict is Verdict.ADMITTED


def test_processes_share_the_budget(tmp_path: Path) -> None:
    one, other = (Ledger(tmp_path, Budget(2, 1000, 0.0)) for _ in range(2))

    found = [admit(each, seed).verdict for seed, each in enumerate([one, other, one, other])]

    assert found == [Verdict.ADMITTED, Verdict.ADMITTED, Verdict.OVER_BUDGET, Verdict.OVER_BUDGET]


def test_a_stream_has_a_budget_and_a_cooldown_of_its_own(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, Budget(1000, 2, 10.0))

    assert admit(ledger, 1, 1000, "hall").verdict is Verdict.ADMITTED
    assert admit(ledger, 2, 1004, "hall") == Admission(Verdict.COOLDOWN, 6.0, of_stream=True)
    assert admit(ledger, 2, 1004, "yard").verdict is Verdict.ADMITTED
    assert admit(ledger, 2, 1010, "hall").verdict is Verdict.ADMITTED
    assert admit(ledger, 3, 1100, "hall") == Admission(Verdict.OVER_BUDGET, 3500.0, of_stream=True)
    assert admit(ledger, 3, 1100).verdict is Verdict.ADMITTED


def test_what_could_not_be_kept_is_forgotten(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, Budget(1, 1, 10.0))
    admitted = admit(ledger, 1, stream="hall")

    assert admitted.entry is not None
    ledger.forget(admitted.entry)

    assert admit(ledger, 1, stream="hall").verdict is Verdict.ADMITTED


def test_a_clock_that_goes_back_neither_stops_nor_renews_the_budget(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(tmp_path, Budget(2, 1000, 0.0))
    for seed in (1, 2):
        admit(ledger, seed, now=100_000)

    back = 40_000
    assert admit(ledger, 3, now=back + 1).verdict is Verdict.OVER_BUDGET
    assert admit(ledger, 3, now=back + HOUR_S + 2).verdict is Verdict.ADMITTED
    assert ledger.clock_steps == 1
    assert "the clock of this machine has gone back" in caplog.text


def test_a_broken_ledger_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all, and longer than a header would be" * 40)
    ledger = Ledger(tmp_path, ROOMY)

    assert verdicts(ledger, 1, 1) == [Verdict.ADMITTED, Verdict.DUPLICATE]
    assert "begun anew" in caplog.text
    assert len(list(tmp_path.glob("*.broken-*"))) == 1


def test_a_ledger_that_breaks_meanwhile_is_begun_anew_by_all(tmp_path: Path) -> None:
    processes = [Ledger(tmp_path, ROOMY), Ledger(tmp_path, ROOMY)]
    for seed in range(40):
        admit(processes[seed % 2], seed)
    for each in processes:
        each.close()
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes()[:4096].ljust(file.stat().st_size, b"\xaa"))

    for _ in range(2):  # a picture may be lost over it
        with suppress(sqlite3.DatabaseError):
            admit(processes[0], 1)

    assert [admit(each, 50).verdict for each in processes] == [Verdict.ADMITTED, Verdict.DUPLICATE]
    assert len(list(tmp_path.glob("*.broken-*"))) == 1


def test_a_ledger_that_somebody_removes_is_made_again(ledger: Ledger, tmp_path: Path) -> None:
    admit(ledger, 1)
    shutil.rmtree(tmp_path)

    assert verdicts(ledger, 1) == [Verdict.ADMITTED]
    assert verdicts(Ledger(tmp_path, ROOMY), 1) == [Verdict.DUPLICATE]


def test_what_is_erased_is_forgotten(ledger: Ledger) -> None:
    admit(ledger, 1, now=1000, stream="hall")
    admit(ledger, 2, now=2000, stream="hall")
    admit(ledger, 3, now=3000, stream="yard")
    of_hall_since_1500 = Selection(stream_id="hall", since=datetime.fromtimestamp(1500, UTC))

    assert ledger.erase(of_hall_since_1500) == 1
    assert ledger.erase(Selection(request_id="request-3", until=datetime.fromtimestamp(3000, UTC))) == 0
    assert admit(ledger, 2, now=4000, stream="hall").verdict is Verdict.ADMITTED
    assert admit(ledger, 1, now=4000, stream="hall").verdict is Verdict.DUPLICATE
