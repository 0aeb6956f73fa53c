"""Processors that a process may really use."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from detector_grpc.serving.cpu import cpu_limit, stand_back

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _sixteen_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def version_2(cgroup: Path, text: str) -> Path:
    (cgroup / "cpu.max").write_text(text)
    return cgroup


def version_1(cgroup: Path, quota: str, period: str = "100000\n") -> Path:
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text(period)
    return cgroup


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", 16),
        ("200000 100000\n", 2),
        ("150000 100000\n", 1),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("1000 100000\n", 1),
        ("9900000 100000\n", 16),
        ("400000 50000\n", 8),
    ],
)
def test_quota_of_cgroup_2(tmp_path: Path, text: str, expected: int) -> None:
    assert cpu_limit(version_2(tmp_path, text)) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1\n", 16), ("300000\n", 3), ("50000\n", 1), ("9900000\n", 16)])
def test_quota_of_cgroup_1(tmp_path: Path, quota: str, expected: int) -> None:
    assert cpu_limit(version_1(tmp_path, quota)) == expected


def test_the_period_of_cgroup_1_counts(tmp_path: Path) -> None:
    assert cpu_limit(version_1(tmp_path, "300000\n", "50000\n")) == 6


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert cpu_limit(tmp_path / "nothing") == 16


def test_the_affinity_is_a_limit_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert cpu_limit(version_2(tmp_path, "800000 100000\n")) == 2


@pytest.mark.parametrize("count", [None, 3])
def test_where_there_is_no_affinity_the_machine_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int | None
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert cpu_limit(tmp_path) == (count or 1)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own only there")
@pytest.mark.parametrize(("before", "after"), [(3, 8), (16, 19)])
def test_a_thread_stands_back_from_where_it_is_as_far_as_there_is_room(before: int, after: int) -> None:
    def stood_back() -> int:
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, before)
        stand_back(5)
        return os.getpriority(os.PRIO_PROCESS, thread)

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(stood_back).result() == after
