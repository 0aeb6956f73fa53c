"""Models that have gone leave nothing behind, and nobody notices that they come and go."""

from __future__ import annotations

import shutil
import statistics
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from support.calls import SERVING, connected, encoded_request, failure
from support.pictures import png, qr_picture
from support.rich_errors import reason_of
from support.servers import BUNDLED_MODELS, server_process

if TYPE_CHECKING:
    from collections.abc import Callable

MODELS = Path(__file__).parents[2].parent / "shared" / "data" / "models"

WARM_UP_CYCLES = 10
MOST_GROWTH = 1.05
LEAST_FREED_BYTES = 16 * 1024 * 1024  # the weights of either model as the runtime lays them out, and room for its runs


def bundled(folder: Path) -> None:
    shutil.copytree(BUNDLED_MODELS / "codes" / "v2", folder)


def yolox(folder: Path) -> None:
    path = MODELS / "yolox_nano.onnx"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    folder.mkdir()
    shutil.copyfile(path, folder / "model.onnx")
    (folder / "manifest.yaml").write_text("head: yolox", encoding="utf-8")


@pytest.mark.parametrize("make", [bundled, yolox])
def test_loads_and_unloads_half_of_them_failing_leave_no_memory_and_disturb_no_call(
    tmp_path: Path,
    make: Callable[[Path], None],
    full: bool,  # noqa: FBT001
) -> None:
    cycles = 100 if full else 50
    shutil.copytree(BUNDLED_MODELS / "codes" / "v1", tmp_path / "codes" / "v1")
    make(tmp_path / "codes" / "hot")
    file = tmp_path / "codes" / "hot" / "model.onnx"
    good = file.read_bytes()
    broken = good[: len(good) // 2]
    picture = encoded_request(png(qr_picture().image))
    to_hot = encoded_request(png(qr_picture().image), version="hot")
    resident: list[int] = []
    freed: list[int] = []
    codes: list[grpc.StatusCode] = []
    stop = threading.Event()

    with (
        server_process(repository=tmp_path) as server,
        connected(server.address) as client,
        connected(server.admin_address) as admin,
    ):
        client.wait_for_status(SERVING)

        def call() -> None:
            with connected(server.address) as other:
                while not stop.is_set():
                    codes.append(other.start_detect(picture).code())

        caller = threading.Thread(target=call)
        caller.start()
        for cycle in range(WARM_UP_CYCLES + cycles):
            fails = cycle % 2
            file.write_bytes(broken if fails else good)
            if fails:
                assert reason_of(failure(lambda: admin.load("hot", "codes"))) == "MODEL_VERSION_FAILED"
            else:
                admin.load("hot", "codes")
                client.detect(to_hot)
                loaded = server.memory_bytes()
                admin.unload("hot", "codes")
                freed.append(loaded - server.memory_bytes())
            resident.append(server.memory_bytes())
        stop.set()
        caller.join()

    growth = [round(each / resident[WARM_UP_CYCLES - 1], 3) for each in resident[WARM_UP_CYCLES:]]
    assert max(growth) < MOST_GROWTH, growth
    assert statistics.median(freed) > LEAST_FREED_BYTES
    assert set(codes) == {grpc.StatusCode.OK}
    assert len(codes) > cycles
