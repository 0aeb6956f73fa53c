"""A server that stops finishes what it took on, and says so to nobody who could not know better."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from support.calls import DETECT, NOT_SERVING, SERVING, connected, encoded_request, failure, wait_until
from support.metrics import read_metrics
from support.onnx_files import tiny_onnx
from support.pictures import png
from support.servers import failed_start, server_process, start_server

if TYPE_CHECKING:
    from pathlib import Path

    from support.calls import Client
    from support.servers import ServerProcess

REQUEST = encoded_request(png(np.zeros((64, 64, 3), np.uint8)))


class Caller(threading.Thread):
    """Calls on and on until the server is gone.

    Attributes:
        ended: Code of every call by its id.
    """

    def __init__(self, server: ServerProcess, name: str) -> None:
        super().__init__(name=name)
        self.ended: dict[str, grpc.StatusCode] = {}
        self._server = server

    def run(self) -> None:
        with connected(self._server.address) as client:
            while self._server.process.poll() is None:
                request_id = f"{self.name}-{len(self.ended)}"
                try:
                    client.detect(REQUEST, (("x-request-id", request_id),))
                    self.ended[request_id] = grpc.StatusCode.OK
                except grpc.RpcError as error:
                    self.ended[request_id] = error.code()


@pytest.mark.parametrize("drain_wait_s", [0, 1])
def test_sigterm_under_load_fails_no_call_that_was_begun(tmp_path: Path, half_second: int, drain_wait_s: int) -> None:
    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx", cost=half_second // 10)
    with server_process(repository=tmp_path, server_drain_wait_s=drain_wait_s) as server:
        with connected(server.address) as client:
            client.wait_for_status(SERVING)
        callers = [Caller(server, f"caller-{number}") for number in range(8)]
        for caller in callers:
            caller.start()
        wait_until(lambda: all(len(caller.ended) >= 3 for caller in callers), "calls of all callers")
        server.send(signal.SIGTERM)
        code = server.wait()
        for caller in callers:
            caller.join()
        logged = {entry["request_id"]: entry["code"] for entry in server.log("call", method=DETECT)}

    ended = {request_id: code for caller in callers for request_id, code in caller.ended.items()}
    assert code == 0
    assert set(logged.values()) == {"OK"}
    assert logged.keys() == {request_id for request_id, code in ended.items() if code is grpc.StatusCode.OK}
    # gRPC cancels what has arrived when it stops but was not handed to anybody yet.
    assert set(ended.values()) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


def test_a_terminal_that_is_closed_ends_a_server_as_sigterm_does(tmp_path: Path) -> None:
    with server_process(repository=tmp_path) as server:
        server.send(signal.SIGHUP)
        assert server.wait() == 0
        assert server.log("stopped")


def test_a_server_under_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which processes hand down
    try:
        server = start_server(repository=tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
    with closing(server), connected(server.address) as client:
        client.wait_for_status(SERVING)
        server.send(signal.SIGHUP)
        assert client.detect(REQUEST)
        assert not server.log("draining")


def test_sigterm_goes_on_answering_new_calls_while_balancers_look_elsewhere(tmp_path: Path) -> None:
    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
    with server_process(repository=tmp_path, server_drain_wait_s=30) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        server.send(signal.SIGTERM)
        client.wait_for_status(NOT_SERVING)

        with connected(server.address) as newcomer:
            assert newcomer.detect(REQUEST).detections
        server.send(signal.SIGINT)
        assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_calls_that_wait_for_a_worker_are_answered_before_the_process_ends(
    tmp_path: Path, half_second: int, number: signal.Signals
) -> None:
    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx", cost=half_second)
    with server_process(repository=tmp_path, runtime_workers=1) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        calls = [client.start_detect(REQUEST) for _ in range(4)]
        wait_until(lambda: read_metrics(server).value("object_detection_queue_depth") == 3, "three that wait")
        server.send(number)

        assert [len(call.result().detections) for call in calls] == [1] * 4
        assert server.wait() == 0


def test_calls_that_take_longer_than_the_grace_are_cut(tmp_path: Path, half_second: int) -> None:
    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx", cost=2 * half_second)
    settings = {"runtime_workers": 1, "server_grace_s": 0.2}
    with server_process(repository=tmp_path, **settings) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        calls = [client.start_detect(REQUEST) for _ in range(3)]
        wait_until(lambda: read_metrics(server).value("object_detection_queue_depth") == 2, "two that wait")
        server.send(signal.SIGINT)

        codes = {failure(call.result).code() for call in calls}

        assert codes <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert server.wait() == 0
        assert "Traceback" not in server.text


@pytest.mark.parametrize("watched", [False, True], ids=["alone", "watched"])
def test_sigint_ends_an_idle_server_at_once(one_model: Path, watched: bool) -> None:  # noqa: FBT001
    settings = {"server_drain_wait_s": 30, "server_grace_s": 30}
    with server_process(repository=one_model, **settings) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        if watched:
            next(client.watch())
        started = time.monotonic()
        server.send(signal.SIGINT)

        assert server.wait() == 0
        assert time.monotonic() - started < 25
        assert [entry["message"] for entry in server.log()][-2:] == ["draining", "stopped"]
        assert "Traceback" not in server.text


def test_sigint_while_a_model_is_loading_ends_the_server(tmp_path: Path, half_second: int) -> None:
    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx", cost=2 * half_second)
    with server_process(repository=tmp_path) as server:
        server.send(signal.SIGINT)

        assert server.wait() == 0
        assert "Traceback" not in server.text


def test_a_second_server_on_the_same_port_is_refused_and_the_first_goes_on(
    codes: Client, codes_server: ServerProcess
) -> None:
    code, said = failed_start(server_port=codes_server.port)

    assert code == 2
    assert codes_server.address in said
    assert codes.status() == SERVING


def test_a_port_is_free_again_once_its_server_has_ended(one_model: Path) -> None:
    with server_process(repository=one_model) as first:
        port = first.port
        first.send(signal.SIGINT)
        assert first.wait() == 0

    with server_process(repository=one_model, server_port=port) as second:
        assert second.port == port


@pytest.fixture
def one_model(tmp_path: Path) -> Path:
    """A repository with one small model."""
    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
    return tmp_path
