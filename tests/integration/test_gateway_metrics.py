"""Prometheus gets what Envoy counts, and nobody anything else of Envoy's own interface."""

from __future__ import annotations

import http.client
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.gateways import running_gateway
from support.http import post
from support.pictures import png
from support.servers import PATIENCE_S

from detector_grpc.gateway.supervision.ports import PortWish, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.gateways import Gateway

MONITORING = Path(__file__).parents[2] / "monitoring"
PICTURE = png(np.zeros((64, 64, 3), np.uint8))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that has answered a call, and refused one as its server was gone."""
    (port,) = free_ports([PortWish("envoy", "127.0.0.1", 0, "")])
    with running_gateway(tmp_path_factory.mktemp("metrics"), plan={"admin_port": port}) as running:
        assert post(running, "/predict", "image/png", PICTURE).status == http.HTTPStatus.OK
        running.servers[0].send(signal.SIGKILL)
        running.wait_until_healthy(0)
        assert post(running, "/predict", "image/png", PICTURE).status == http.HTTPStatus.SERVICE_UNAVAILABLE
        yield running


def asked(gateway: Gateway, method: str, target: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(gateway.admin.metrics_listener(), timeout=PATIENCE_S)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def told(gateway: Gateway) -> list[tuple[str, str, float]]:
    """Name, labels and value of each series, as they are written."""
    status, text = asked(gateway, "GET", "/metrics")
    assert status == http.HTTPStatus.OK
    return [(name, labels, float(value)) for name, labels, value in re.findall(r"(?m)^(\w+)\{(.*)\} (\S+)$", text)]


def test_calls_are_counted_also_those_that_no_server_was_there_for(gateway: Gateway) -> None:
    series = told(gateway)

    def total(name: str, *labels: str) -> float:
        return sum(value for other, text, value in series if other == name and all(each in text for each in labels))

    for status in "25":
        labels = ('conn_manager_prefix="gateway"', f'response_code_class="{status}"')
        assert total("envoy_http_downstream_rq_xx", *labels) == 1
    assert total("envoy_cluster_upstream_cx_none_healthy") == 1
    assert total("envoy_cluster_membership_healthy", 'cluster_name="servers"') == 0


def test_rules_and_dashboards_ask_for_what_there_is(gateway: Gateway) -> None:
    files = [*MONITORING.glob("rules/*.yaml"), *MONITORING.glob("dashboards/*.json")]
    text = " ".join(file.read_text(encoding="utf-8") for file in files)
    wanted = set(re.findall(r"\benvoy_\w+(?=\{|\[)", text))
    assert wanted
    assert wanted <= {name for name, *_ in told(gateway)}


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/quitquitquit"),
        ("POST", "/metrics"),
        ("POST", "/healthcheck/fail"),
        ("GET", "/"),
        ("GET", "/config_dump"),
        ("GET", "/stats/prometheus"),
        ("GET", "/metrics?filter=."),
        ("GET", "/metrics/"),
        ("GET", "/metrics/../config_dump"),
        ("GET", "/metrics%2F..%2Fconfig_dump"),
        ("GET", "//metrics"),
    ],
)
def test_nothing_else_is_there(gateway: Gateway, method: str, target: str) -> None:
    assert asked(gateway, method, target) == (http.HTTPStatus.NOT_FOUND, "")
    assert gateway.admin.is_ready()
