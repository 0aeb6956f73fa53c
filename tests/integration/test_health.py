from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2
from support.calls import NOT_SERVING, SERVING, connected, failure
from support.onnx_files import tiny_onnx
from support.servers import server_process

from detector_grpc.stopping import TOGETHER_S

if TYPE_CHECKING:
    from pathlib import Path

    from support.calls import Client

SERVICES = ["", "detector.v1.DetectorService", "detector.v1.ModelService"]


@pytest.mark.parametrize("name", [*SERVICES, "models/codes/versions/v1", "models/codes/versions/v2"])
def test_a_loaded_server_says_serving_to_every_name(codes: Client, name: str) -> None:
    assert codes.status(name) == SERVING


@pytest.mark.parametrize("name", ["nobody", "models/codes/versions/v9", "models/codes"])
def test_a_name_that_does_not_exist_is_not_found(codes: Client, name: str) -> None:
    error = failure(lambda: codes.status(name))

    assert error.code() is grpc.StatusCode.NOT_FOUND


def test_a_server_without_the_version_that_it_shall_hold_is_alive_and_not_serving(tmp_path: Path) -> None:
    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
    with server_process(repository=tmp_path, models_versions="v3") as server, connected(server.address) as client:
        server.wait_for_log(
            "no model has a version v3 (DETECTOR_MODELS_VERSIONS); there are tiny v1; going on, NOT_SERVING"
        )
        assert [client.status("alive"), client.status("")] == [SERVING, NOT_SERVING]


@pytest.mark.parametrize("name", ["", "models/tiny/versions/v1"])
def test_a_watch_sees_a_server_come_and_go(tmp_path: Path, half_second: int, name: str) -> None:
    # Loading runs the model once, which takes longer than it takes to begin to watch.
    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx", cost=half_second)
    seen: list[int] = []
    with server_process(repository=tmp_path) as server, connected(server.address) as client:

        def watch() -> None:
            try:
                for update in client.watch(name):
                    seen.append(update.status)
                    if seen == [NOT_SERVING, SERVING]:
                        server.send(signal.SIGTERM)
            except grpc.RpcError:
                pass  # the server is gone

        watching = threading.Thread(target=watch)
        watching.start()
        code = server.wait()
        watching.join()

    assert seen == [NOT_SERVING, SERVING, NOT_SERVING]
    assert code == 0


def test_a_drained_server_says_not_serving_to_new_questions(tmp_path: Path) -> None:
    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
    names = [*SERVICES, "models/tiny/versions/v1"]
    with server_process(repository=tmp_path, server_drain_wait_s=600) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        server.send(signal.SIGTERM)
        client.wait_for_status(NOT_SERVING)

        assert {name: client.status(name) for name in names} == dict.fromkeys(names, NOT_SERVING)

        time.sleep(TOGETHER_S)  # or the two would be one
        server.send(signal.SIGTERM)  # a second one ends the waiting
        assert server.wait() == 0


def test_one_version_that_failed_keeps_neither_the_process_nor_the_other_from_serving(tmp_path: Path) -> None:
    tiny_onnx(tmp_path / "tiny" / "good" / "model.onnx")
    tiny_onnx(tmp_path / "tiny" / "bad" / "model.onnx", output_shape=(1, 8))
    with server_process(repository=tmp_path) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)

        assert client.status("models/tiny/versions/good") == SERVING
        assert client.status("models/tiny/versions/bad") == NOT_SERVING


def test_the_process_is_serving_only_once_every_version_has_settled(tmp_path: Path, half_second: int) -> None:
    tiny_onnx(tmp_path / "tiny" / "quick" / "model.onnx")
    tiny_onnx(tmp_path / "tiny" / "slow" / "model.onnx", cost=half_second)
    with server_process(repository=tmp_path) as server, connected(server.address) as client:
        client.wait_for_status(SERVING, "models/tiny/versions/quick")
        process, slow = client.status(), client.status("models/tiny/versions/slow")
        client.wait_for_status(SERVING)

        assert (process, slow) == (NOT_SERVING, NOT_SERVING)
        assert client.status("models/tiny/versions/slow") == SERVING


def test_a_watch_of_a_name_that_does_not_exist_says_so_and_goes_on(codes: Client) -> None:
    watch = codes.watch("nobody")

    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()
