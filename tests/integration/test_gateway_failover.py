"""Another server answers in place of one that has died, and another version only where it was asked to."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from support.calls import connected, encoded_request, failure
from support.gateways import running_gateway
from support.load import Load
from support.pictures import png
from support.rest import Rest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.gateways import Gateway

PICTURE = png(np.zeros((64, 64, 3), np.uint8))
REQUEST = encoded_request(PICTURE)

# A server that says how unsure it was, as all do before they answer REST, and is killed before the rest of the answer.
DIES_AFTER_ITS_FIRST_WORDS = """
import os, signal, time
from concurrent.futures import ThreadPoolExecutor
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

def predict(request, context):
    context.send_initial_metadata((("x-detector-uncertainty", "0.5"),))
    time.sleep(0.5)  # until they are on their way
    os.kill(os.getpid(), signal.SIGKILL)

server = grpc.server(ThreadPoolExecutor())
healthy = health.HealthServicer()
for name in ("", "models/tiny/versions/v1", "models/tiny/versions/v2"):
    healthy.set(name, health_pb2.HealthCheckResponse.SERVING)
health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
handlers = {"Predict": grpc.unary_unary_rpc_method_handler(predict)}
server.add_registered_method_handlers("detector.v1.DetectorService", handlers)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
"""


@contextmanager
def gateway_with(folder: Path, *, failover: bool) -> Iterator[Gateway]:
    with running_gateway(folder, servers=2, plan={"failover": failover}) as gateway:
        gateway.share(v1=1)
        yield gateway


def unload(gateway: Gateway, version: str) -> None:
    """Frees a version in every process."""
    for server in gateway.servers:
        with connected(server.admin_address) as admin:
            admin.unload(version)


def test_no_call_is_lost_when_the_last_server_gives_the_version_up(tmp_path: Path) -> None:
    with gateway_with(tmp_path, failover=True) as gateway:
        with Load(gateway, 600) as load:
            load.wait_for(200)
            unload(gateway, "v1")
        with closing(Rest(gateway.address)) as rest, connected(gateway.address) as client:
            gateway.wait_until_healthy(0, "v1")
            for _ in range(20):
                answer = rest("POST", "/predict", PICTURE, "image/png")
                assert (answer.json["version"], answer.headers["x-detector-arm"]) == ("v2", "v2")
                assert client.detect(REQUEST).version == "v2"

    assert not load.failed
    assert {version for _, version in load.answered} == {"v1", "v2"}


def test_the_version_answers_again_when_it_is_back(tmp_path: Path) -> None:
    with gateway_with(tmp_path, failover=True) as gateway, connected(gateway.address) as client:
        unload(gateway, "v1")
        gateway.wait_until_healthy(0, "v1")
        with connected(gateway.servers[0].admin_address) as admin:
            admin.load("v1")
        gateway.wait_until_healthy(1, "v1")

        assert {client.detect(REQUEST).version for _ in range(50)} == {"v1"}


def test_one_server_that_has_the_version_keeps_all_of_its_calls(tmp_path: Path) -> None:
    with gateway_with(tmp_path, failover=True) as gateway, connected(gateway.address) as client:
        with connected(gateway.servers[0].admin_address) as admin:
            admin.unload("v1")
        gateway.wait_until_healthy(1, "v1")

        assert {client.detect(REQUEST).version for _ in range(100)} == {"v1"}


@pytest.mark.parametrize("failover", [False, True])
def test_a_pin_is_never_answered_by_another_version(tmp_path: Path, failover: bool) -> None:  # noqa: FBT001
    with gateway_with(tmp_path, failover=failover) as gateway, connected(gateway.address) as client:
        unload(gateway, "v1")
        gateway.wait_until_healthy(0, "v1")

        error = failure(lambda: client.detect(REQUEST, (("x-model-version", "v1"),)))

        assert error.code() is grpc.StatusCode.UNAVAILABLE


def test_without_the_setting_no_other_version_answers(tmp_path: Path) -> None:
    with gateway_with(tmp_path, failover=False) as gateway, connected(gateway.address) as client:
        unload(gateway, "v1")

        errors = {failure(lambda: client.detect(REQUEST)).code() for _ in range(20)}
        gateway.wait_until_healthy(0, "v1")
        later = failure(lambda: client.detect(REQUEST)).code()

    assert errors <= {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE}
    assert later is grpc.StatusCode.UNAVAILABLE


def test_a_call_of_rest_whose_server_dies_after_its_first_words_is_made_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DIES_AFTER_ITS_FIRST_WORDS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as dying:
        try:
            address = f"127.0.0.1:{int(dying.stdout.readline())}"
            with running_gateway(tmp_path, others=[address]) as gateway, closing(Rest(gateway.address)) as rest:
                statuses = []
                while dying.poll() is None:
                    statuses.append(rest("POST", "/predict", PICTURE, "image/png").status)
        finally:
            dying.kill()

    assert set(statuses) == {200}
