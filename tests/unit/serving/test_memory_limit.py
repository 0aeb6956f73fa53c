"""A model that there is no memory for is refused, and says so, before the system ends the process."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.loading import TIMEOUT_S, WORKERS, Loading
from support.sessions import FakeSession

from detector_grpc.errors import ModelTooLarge, VersionFailed
from detector_grpc.serving.loader import OPENING
from detector_grpc.serving.memory_limit import MemoryLimit, Room, own_bytes, room
from detector_grpc.serving.registry import ModelState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1024 * 1024
V1, V2 = ("yolo", "v1"), ("yolo", "v2")


def version_2(cgroup: Path, limit: int | str, used: int, cached: int = 0) -> Path:
    (cgroup / "memory.max").write_text(f"{limit}\n")
    (cgroup / "memory.current").write_text(f"{used}\n")
    (cgroup / "memory.stat").write_text(f"anon {used - cached}\ninactive_file {cached}\nactive_file 0\nshmem 0\n")
    return cgroup


def version_1(cgroup: Path, limit: int, used: int, cached: int = 0) -> Path:
    folder = cgroup / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"inactive_file 7\ntotal_inactive_file 0\ntotal_active_file {cached}\n")
    return cgroup


@pytest.mark.parametrize("group", [version_1, version_2])
def test_what_the_system_keeps_of_files_is_free(tmp_path: Path, group: Callable[..., Path]) -> None:
    assert room(group(tmp_path, 512 * MIB, 400 * MIB, cached=100 * MIB)) == Room(512 * MIB, 212 * MIB)


def test_without_a_limit_nothing_is_refused(tmp_path: Path) -> None:
    for cgroup in (
        version_2(tmp_path, "max", MIB),
        version_1(tmp_path, 0x7FFFFFFFFFFFF000, MIB),
        tmp_path / "nothing",
    ):
        assert room(cgroup) is None
        MemoryLimit(cgroup).check("all", 1 << 60)


def test_what_just_fits_is_let_in_and_one_byte_more_is_not(tmp_path: Path) -> None:
    memory = MemoryLimit(version_2(tmp_path, 512 * MIB, 400 * MIB))
    memory.check("it", 112 * MIB)
    with pytest.raises(ModelTooLarge) as caught:
        memory.check("it", 112 * MIB + 1)
    assert caught.value.message == "it takes at least 112 MiB of memory, of the limit of 512 MiB there are 112 left"
    sizes = {"neededBytes": 112 * MIB + 1, "leftBytes": 112 * MIB, "limitBytes": 512 * MIB}
    assert caught.value.metadata == {key: str(size) for key, size in sizes.items()}


def test_memory_of_the_process_is_counted() -> None:
    before = own_bytes()
    block = np.ones(64 * MIB, np.uint8)
    assert own_bytes() - before == pytest.approx(block.nbytes, rel=0.1)


async def test_a_file_that_is_too_large_is_not_opened_and_the_others_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held = Loading(tmp_path, [V1, V2], version_2(tmp_path, 512 * MIB, 100 * MIB))
    os.truncate(tmp_path / "yolo" / "v2" / "model.onnx", 300 * MIB)
    await held.loader.load_all()
    assert held.states[-1] == {V1: ModelState.READY, V2: ModelState.FAILED}
    failure = held.registry.find(*V2).failure
    assert (
        failure
        == f"to open it takes at least {OPENING * 300} MiB of memory, of the limit of 512 MiB there are 412 left"
    )
    (record,) = (record for record in caplog.records if record.message == "version failed")
    assert (record.reason, record.cause) == ("MODEL_TOO_LARGE", failure)
    assert len(held.opened) == 1


async def test_a_model_whose_runs_take_too_much_is_closed_before_all_workers_run_it(tmp_path: Path) -> None:
    held = Loading(tmp_path, [V1], version_2(tmp_path, 512 * MIB, 412 * MIB))
    taken = []

    class Greedy(FakeSession):
        def run(self, *arguments: object) -> list[np.ndarray]:
            if self.fed:  # the first run finds out what the model is
                taken.append(np.ones(64 * MIB, np.uint8))
            return super().run(*arguments)  # type: ignore[arg-type]

    held.open_session = lambda _: Greedy()
    await held.loader.load_all()
    failure = held.registry.find(*V1).failure
    purpose = f"to run it on {WORKERS} pictures at once (DETECTOR_RUNTIME_WORKERS)"
    assert re.match(rf"{re.escape(purpose)} takes at least 1[23]\d MiB of memory, of the limit of 512 MiB", failure)
    assert len(taken) == 1
    assert held.opened[0].closed


async def test_a_version_that_answers_goes_on_where_there_is_no_room_for_the_next_one(tmp_path: Path) -> None:
    held = Loading(tmp_path, [V1], version_2(tmp_path, 512 * MIB, 100 * MIB))
    await held.loader.load_all()
    os.truncate(tmp_path / "yolo" / "v1" / "model.onnx", 300 * MIB)
    with pytest.raises(VersionFailed, match="of the limit of 512 MiB there are 412 left"):
        await held.loader.load(*V1)
    assert held.digest() == "first"


async def test_under_a_limit_models_are_opened_one_after_the_other(tmp_path: Path) -> None:
    held = Loading(tmp_path, [V1, V2], version_2(tmp_path, 512 * MIB, 100 * MIB))
    opening, began, go_on = [], threading.Event(), threading.Event()

    def wait(path: Path) -> FakeSession:
        opening.append(path)
        began.set()
        assert go_on.wait(TIMEOUT_S)
        assert len(opening) == 1
        opening.remove(path)
        return FakeSession()

    held.open_session = wait
    starting = asyncio.create_task(held.loader.load_all())
    assert await asyncio.to_thread(began.wait, TIMEOUT_S)
    go_on.set()
    await starting
    assert held.states[-1] == {V1: ModelState.READY, V2: ModelState.READY}
