"""What waits stays, whatever happens to its process, within its bounds."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.samples import NOON, sample

from detector_grpc.capture.sample import Doubt
from detector_grpc.capture.spool import ASIDE, Spool, SpoolLimits, samples_in

if TYPE_CHECKING:
    from detector_grpc.capture.sample import Sample
    from detector_grpc.capture.waiting import First

ROOMY = SpoolLimits(10**9, 1e9, "oldest")


def open_spool(folder: Path, limits: SpoolLimits = ROOMY, now_s: float = NOON.timestamp()) -> Spool:
    spool = Spool(folder / "sink", limits, lambda: now_s)
    spool.open()
    return spool


def taken(spool: Spool) -> list[bytes]:
    """Pictures of all that waits, in the order in which they would be brought."""
    pictures = []
    while (name := spool.oldest(set())) is not None:
        with spool.reading(name) as read:
            if read is not None:
                pictures.append(read.picture)
        spool.remove(name)
    return pictures


def at(second: int, score: float = 0.5, size: int = 1) -> Sample:
    picture = b"%03d" % second + b"." * (size - 1)
    when = NOON + timedelta(seconds=second)
    return sample(picture, captured_at=when, uncertainty=Doubt(score=score, driver="margin"))


def test_what_was_added_waits_in_the_order_of_capture(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    for second in (3, 1, 2):
        spool.add(at(second))

    assert len(spool) == 3
    assert spool.size_bytes == sum(path.stat().st_size for path in samples_in(tmp_path))
    assert taken(spool) == [b"001", b"002", b"003"]
    assert (len(spool), spool.size_bytes, list(samples_in(tmp_path))) == (0, 0, [])


def test_samples_of_a_process_that_has_ended_are_adopted_and_those_of_one_that_runs_are_not(tmp_path: Path) -> None:
    ended, running, own = (open_spool(tmp_path) for _ in range(3))
    ended.add(at(1))
    running.add(at(2))
    ended.close()

    assert own.adopt() == 1
    assert taken(own) == [b"001"]
    assert taken(running) == [b"002"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from support.samples import sample
from detector_grpc.capture.spool import Spool, SpoolLimits
spool = Spool(Path(sys.argv[1]) / "sink", SpoolLimits(10**9, 1e9, "oldest"))
spool.open()
spool.add(sample(b"left behind"))
next((Path(sys.argv[1]) / "sink").iterdir()).joinpath(".new-1-half").write_bytes(b"half of a sample")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_samples_of_a_process_that_was_killed_are_adopted(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), *sys.path], check=False, timeout=60)

    spool = open_spool(tmp_path)

    assert spool.adopt() == 1
    assert taken(spool) == [b"left behind"]
    assert len(list((tmp_path / "sink").iterdir())) == 1


@pytest.mark.parametrize(("first", "left"), [("oldest", [b"003", b"004"]), ("surest", [b"001", b"004"])])
def test_where_there_is_no_more_room_the_oldest_or_the_surest_go(
    tmp_path: Path, first: First, left: list[bytes]
) -> None:
    two = 2 * len(at(1).to_bytes()) + 20
    spool = open_spool(tmp_path, SpoolLimits(two, 1e9, first))
    for second, score in ((1, 0.9), (2, 0.2), (3, 0.3), (4, 0.8)):
        spool.add(at(second, score))

    assert spool.lost["evicted_size"] == 2
    assert [picture[:3] for picture in taken(spool)] == left


def test_what_is_on_its_way_does_not_go(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, SpoolLimits(len(at(1).to_bytes()) + 20, 1e9, "oldest"))
    spool.add(at(1))

    with spool.reading(spool.oldest(set()) or ""):
        spool.add(at(2))

    assert taken(spool) == [b"001"]


def test_what_waits_too_long_goes(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, SpoolLimits(10**9, 60, "oldest"), NOON.timestamp() + 100)
    spool.add(at(10))
    spool.add(at(50))
    assert spool.oldest_s == 90

    spool.forget_old()

    assert spool.lost["evicted_age"] == 1
    assert taken(spool) == [b"050"]


@pytest.mark.parametrize("place", [5, -1])
def test_what_was_damaged_is_set_aside_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: int
) -> None:
    spool = open_spool(tmp_path)
    spool.add(at(1))
    spool.add(at(2))
    damaged = min(samples_in(tmp_path))
    data = bytearray(damaged.read_bytes())
    data[place] ^= 1
    damaged.write_bytes(data)

    assert taken(spool) == [b"002"]
    assert spool.lost["corrupt"] == 1
    assert (tmp_path / ASIDE / damaged.name).read_bytes() == data
    assert "set aside" in caplog.text


def test_what_cannot_be_taken_over_keeps_nothing_else_from_it_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for process in ("1-of-somebody-else", "2-of-ours"):
        dead = open_spool(tmp_path / process)
        dead.add(at(1))
        (left,) = (tmp_path / process / "sink").iterdir()
        (tmp_path / "sink").mkdir(exist_ok=True)
        left.rename(tmp_path / "sink" / process)
        dead.close()
    rename = Path.rename

    def refused(path: Path, target: Path) -> Path:
        if "somebody-else" in str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    spool = open_spool(tmp_path)

    assert [spool.adopt() for _ in range(2)] == [1, 0]
    assert caplog.text.count("cannot be taken over, and stays: Permission denied") == 1


def test_what_is_no_file_stays_where_a_dead_process_has_it(tmp_path: Path) -> None:
    (tmp_path / "sink" / "1-dead" / "a.sample").mkdir(parents=True)
    spool = open_spool(tmp_path)

    assert spool.adopt() == 0
    assert (tmp_path / "sink" / "1-dead" / "a.sample").is_dir()


def test_what_has_no_name_of_ours_is_set_aside(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    stranger = tmp_path / "sink" / "1-dead"
    stranger.mkdir()
    (stranger / "notes.sample").write_bytes(b"not ours")
    spool.adopt()

    assert taken(spool) == []
    assert spool.lost["corrupt"] == 1


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = open_spool(tmp_path)

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        spool.add(at(1))

    assert (len(spool), spool.size_bytes) == (0, 0)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_folder_that_somebody_removes_is_made_again(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    (own,) = (tmp_path / "sink").iterdir()
    own.rmdir()

    with pytest.raises(FileNotFoundError):
        spool.add(at(1))
    spool.add(at(2))

    assert taken(spool) == [b"002"]
