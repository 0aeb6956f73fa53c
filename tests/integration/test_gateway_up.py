"""`gateway up` stands before servers of one version each, and shares traffic as a file says that others replace."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.calls import SERVING, connected, encoded_request, wait_until
from support.gateways import VERSIONS, tiny_repository
from support.http import ask
from support.pictures import png
from support.servers import server_process, variables
from support.ups import FREE_PORTS, UpProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.calls import Client

REQUEST = encoded_request(png(np.zeros((64, 64, 3), np.uint8)))
PROGRAM = (sys.executable, "-m", "detector_grpc", "gateway")


class ConfigMap:
    """A folder with files as Kubernetes mounts it: all are replaced in one step, by another link."""

    def __init__(self, folder: Path, **files: str) -> None:
        self._folder = folder
        self._number = 0
        folder.mkdir()
        self.write(**files)
        for name in files:
            (folder / name).symlink_to(f"..data/{name}")

    def write(self, **files: str) -> None:
        self._number += 1
        data, link = self._folder / f"..{self._number}", self._folder / "..data_tmp"
        data.mkdir()
        for name, text in files.items():
            (data / name).write_text(text, encoding="utf-8")
        link.symlink_to(data.name)
        link.replace(self._folder / "..data")


class Gateway:
    """A gateway and what it follows."""

    def __init__(self, process: UpProcess, traffic: ConfigMap) -> None:
        self.process = process
        self.traffic = traffic
        self.address: str = process.wait_for_log("ready")["gateway"]

    def share(self, text: str) -> None:
        self.traffic.write(traffic=text)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    repository = tiny_repository(tmp_path / "models")
    traffic = ConfigMap(tmp_path / "traffic", traffic="{weights: {v1: 1}, shadow: {}}")
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                server_process(repository=repository, models_versions=version, models_default_version=version)
            )
            for version in VERSIONS
        ]
        for server in servers:
            with connected(server.address) as client:
                client.wait_for_status(SERVING)
        environment = FREE_PORTS | variables(
            {
                "gateway_state": tmp_path / "state",
                "gateway_servers": ",".join(server.address for server in servers),
                "gateway_versions": ",".join(VERSIONS),
                "gateway_traffic_file": tmp_path / "traffic" / "traffic",
                "models_default_model": "tiny",
                "server_drain_wait_s": 1,
            }
        )
        process = UpProcess(environment, program=PROGRAM)
        stack.callback(process.close)
        yield Gateway(process, traffic)


def wait_until_answered_by(client: Client, version: str) -> Counter[str]:
    """How many calls each version answered until this one did; a call that fails ends the test."""
    answers: Counter[str] = Counter()

    def answered() -> bool:
        answers[client.detect(REQUEST).version] += 1
        return version in answers

    wait_until(answered, f"an answer of {version}")
    return answers


def test_weights_that_are_replaced_behind_a_link_count_without_a_lost_call(gateway: Gateway) -> None:
    with connected(gateway.address) as client:
        assert wait_until_answered_by(client, "v1").total() == 1
        gateway.share("{weights: {v2: 1}, shadow: {}}")
        wait_until_answered_by(client, "v2")
        assert {client.detect(REQUEST).version for _ in range(20)} == {"v2"}

        gateway.share("{weights: {v1: -1}, shadow: {}}")
        fault = gateway.process.wait_for_log("traffic stays as it is")
        assert 'the weight of v1 must be a whole number from 0 to 1000000, got "-1"' in fault["cause"]
        assert client.detect(REQUEST).version == "v2"

        gateway.share("{weights: {v1: 1}, shadow: {}}")
        wait_until_answered_by(client, "v1")


def test_sigterm_is_seen_at_health_and_calls_that_are_under_way_are_answered(gateway: Gateway) -> None:
    assert ask(gateway, "GET", "/health").status == 200
    with connected(gateway.address) as client:
        client.detect(REQUEST)
        gateway.process.send(signal.SIGTERM)
        wait_until(lambda: ask(gateway, "GET", "/health").status == 503, "the gateway to say that it stops")
        client.detect(REQUEST)
        assert gateway.process.wait() == 0
