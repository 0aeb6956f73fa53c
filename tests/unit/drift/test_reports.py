from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.drift import NOON_S, observations

from detector_grpc.drift.audit import Audit
from detector_grpc.drift.keeper import Keeper
from detector_grpc.drift.monitor import Monitor
from detector_grpc.drift.observation import Watched
from detector_grpc.drift.reports import Reports, evidently_command
from detector_grpc.drift.series import Shape
from detector_grpc.drift.station import Station
from detector_grpc.drift.store import Store
from detector_grpc.errors import ReportMissing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

V1 = Watched("a model / ..", "v1")


def python(code: str) -> Sequence[str]:
    """A command that runs this, with both files in `sys.argv`."""
    return sys.executable, "-c", f"import sys, time, pathlib\n{code}"


WRITES = python(
    "pathlib.Path(sys.argv[2]).write_text('<p>page of ' + str(pathlib.Path(sys.argv[1]).stat().st_size > 100))"
)
DIES = python("sys.exit('it went wrong')")
KILLS_ITSELF = python("import os; os.kill(os.getpid(), 9)")
HANGS = python("time.sleep(600)")
NICE = python(
    "import os\n"
    "end = time.monotonic() + 30\n"
    "while os.nice(0) != 10 and time.monotonic() < end: time.sleep(0.01)\n"
    "pathlib.Path(sys.argv[2]).write_text(str(os.nice(0)))"
)
WRITES_NOTHING = python("pass")
IS_NOT_THERE = ("/nonexistent/python",)


class Desk:
    """Reports on a station that has something to show, and their clock."""

    def __init__(self, folder: Path) -> None:
        self.now_s = 1000.0
        self.folder = folder
        self.store = Store(folder)
        monitor = Monitor(Shape(block=20, first=10))
        keeper = Keeper(monitor, self.store, folder / "r.json", Audit(folder), 200)
        self.station = Station(monitor, keeper, 200, lambda: NOON_S)
        self.rng = np.random.default_rng(2)
        self.see(240)

    def see(self, count: int) -> None:
        self.station.take(V1, "a", observations(self.rng, count))

    def reports(self, command: Sequence[str] | None, timeout_s: float = 60) -> Reports:
        return Reports(self.station, self.folder / "reports", 600, timeout_s, command, lambda: self.now_s)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.store.close()


async def test_a_page_is_made_and_kept_until_there_is_something_new(desk: Desk) -> None:
    reports = desk.reports(WRITES)
    await reports.make_those_due()
    made_s, fault = reports.state(V1)
    assert made_s > 0
    assert fault == ""
    assert await reports.page(V1) == b"<p>page of True"

    desk.now_s += 10_000
    await reports.make_those_due()
    assert reports.state(V1)[0] == made_s

    desk.see(20)
    await reports.make_those_due()
    assert reports.state(V1)[0] > made_s


async def test_a_page_is_made_at_once_when_the_world_has_changed(desk: Desk) -> None:
    reports = desk.reports(WRITES)
    await reports.make_those_due()
    made_s, _ = reports.state(V1)
    desk.see(20)
    await reports.make_those_due()
    assert reports.state(V1)[0] == made_s

    desk.station.take(V1, "a", observations(desk.rng, 60, brightness=50))
    (source,) = desk.station.report_sources()
    with pytest.raises(ReportMissing, match="the world has changed"):  # what is there says that it has not
        await reports.page(V1)
    await reports.make_those_due()

    assert await reports.page(V1)
    assert source.is_drifted
    assert source.current[:, 0].max() < 110  # nothing of what was before
    assert reports.state(V1)[0] > made_s
    desk.station.take(V1, "a", observations(desk.rng, 20, brightness=50))
    made_s, _ = reports.state(V1)
    await reports.make_those_due()
    assert reports.state(V1)[0] == made_s


@pytest.mark.parametrize(
    ("command", "timeout_s", "fault"),
    [
        (DIES, 60, "ended with 1"),
        (KILLS_ITSELF, 60, "ended with -9"),
        (HANGS, 0.5, "took longer than 0.5 s, and was killed"),
        (WRITES_NOTHING, 60, "its files not be written"),
        (IS_NOT_THERE, 60, "could not be started"),
    ],
)
async def test_a_process_that_fails_is_said_and_begun_again_later(
    desk: Desk, command: Sequence[str], timeout_s: float, fault: str
) -> None:
    reports = desk.reports(command, timeout_s)
    await reports.make_those_due()
    assert fault in reports.state(V1)[1]
    with pytest.raises(ReportMissing, match=fault):
        await reports.page(V1)

    reports._command = WRITES
    reports._timeout_s = 60
    await reports.make_those_due()
    assert fault in reports.state(V1)[1]  # not at once
    desk.now_s += 601
    await reports.make_those_due()
    assert reports.state(V1)[1] == ""


async def test_others_go_first(desk: Desk) -> None:
    reports = desk.reports(NICE)

    await reports.make_those_due()

    assert int(await reports.page(V1)) == 10


async def test_an_old_page_is_shown_and_said_to_be_old(desk: Desk) -> None:
    reports = desk.reports(WRITES)
    await reports.make_those_due()
    made_s, _ = reports.state(V1)
    desk.see(20)
    desk.now_s += 601
    reports._command = DIES
    await reports.make_those_due()

    assert await reports.page(V1) == b"<p>page of True"
    assert reports.state(V1)[0] == made_s
    assert "ended with 1" in reports.state(V1)[1]


async def test_where_nothing_can_make_pages_it_is_said(desk: Desk) -> None:
    reports = desk.reports(None)
    await reports.run()

    with pytest.raises(ReportMissing, match=r"detector-grpc\[drift\]"):
        await reports.page(V1)


async def test_the_page_of_evidently_says_what_the_state_says(desk: Desk) -> None:
    desk.station.take(V1, "a", observations(desk.rng, 100, brightness=50))
    reports = desk.reports(evidently_command())

    await reports.make_those_due()

    assert reports.state(V1)[1] == ""
    page = await reports.page(V1)
    assert b"brightness" in page
    assert b"1 out of 21" in page or b"4.8%" in page or b"4.76" in page
