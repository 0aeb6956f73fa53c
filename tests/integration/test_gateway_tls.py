"""The gateway speaks TLS to clients where it has a certificate, for all that they speak, and nothing else suffers."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from click.testing import CliRunner
from support.calls import SERVING, connected, encoded_request, failure, wait_until
from support.certificates import Authority, channel_credentials
from support.gateways import tiny_repository
from support.pictures import png
from support.ups import failed_up, up_process

from detector_grpc.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.ups import UpProcess

PICTURE = png(np.zeros((64, 64, 3), np.uint8))
REQUEST = encoded_request(PICTURE)
PORT = {"gateway_plain_port": 0}


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("ours")


@pytest.fixture(scope="module")
def up(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpProcess]:
    folder = tmp_path_factory.mktemp("up")
    certificate, key = authority.server().write(folder, "server")
    files = {"gateway_tls_certificate": certificate, "gateway_tls_private_key": key}
    with up_process(folder, repository=tiny_repository(folder / "models"), **PORT, **files) as up:
        yield up


@pytest.fixture
def public(up: UpProcess) -> str:
    """Where clients call."""
    return f"127.0.0.1:{up.state.plan().port}"


def test_grpc_is_answered_to_whoever_trusts_the_gateway(public: str, authority: Authority) -> None:
    with connected(public, channel_credentials(authority)) as client:
        assert client.status() == SERVING
        assert client.detect(REQUEST).detections
    for credentials in (channel_credentials(Authority("theirs")), None):
        with connected(public, credentials) as client:
            assert failure(lambda: client.detect(REQUEST, timeout_s=5)).code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(("method", "path", "body"), [("POST", "/predict", PICTURE), ("GET", "/health", None)])
def test_rest_and_pages_are_answered_over_https(
    public: str, authority: Authority, method: str, path: str, body: bytes | None
) -> None:
    context = ssl.create_default_context(cadata=authority.certificate.decode())
    context.set_alpn_protocols(["http/1.1"])
    host, _, port = public.partition(":")
    connection = http.client.HTTPSConnection(host, int(port), timeout=30, context=context)
    connection.request(method, path, body, {"content-type": "image/png"} if body else {})
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("content-type").partition(";")[0]) == (200, "application/json")
    assert json.load(answer)
    connection.close()


def test_http_2_is_offered_first_and_nothing_older_than_tls_1_2(public: str, authority: Authority) -> None:
    authority_pem = authority.certificate.decode()
    assert agreed(public, authority_pem, ["h2", "http/1.1"], ssl.TLSVersion.MAXIMUM_SUPPORTED) == "h2"
    assert agreed(public, authority_pem, ["http/1.1"], ssl.TLSVersion.TLSv1_2) == "http/1.1"


def test_what_runs_on_this_machine_goes_on_without_certificates(up: UpProcess, public: str) -> None:
    assert up.gateway != public
    state = ["--state", str(up.state.folder)]
    runner = CliRunner()
    assert runner.invoke(main, ["health", "--rest", f"http://{up.gateway}"]).exit_code == 0
    assert runner.invoke(main, ["traffic", "shadow", *state, "v2=100%"]).exit_code == 0
    with connected(up.gateway) as client:
        for _ in range(5):
            client.detect(REQUEST)

    def compared() -> bool:
        result = runner.invoke(main, ["traffic", "compare", "--json", *state])
        return result.exit_code == 0 and any(each["compared"] for each in json.loads(result.stdout))

    wait_until(compared, "copies that were compared")


def test_files_that_are_no_certificate_are_named_before_anything_starts(tmp_path: Path) -> None:
    for name in ("certificate", "key"):
        (tmp_path / name).write_text("no PEM")
    files = {"gateway_tls_certificate": tmp_path / "certificate", "gateway_tls_private_key": tmp_path / "key"}
    code, up = failed_up(tmp_path, demo=True, **PORT, **files)
    assert code == 2
    certificate, key = files.values()
    assert up.lines == [f"Error: {certificate} and {key} are no PEM files of a certificate and its private key"]


def agreed(address: str, authority: str, protocols: list[str], most: ssl.TLSVersion) -> str | None:
    """The protocol on which a client and the gateway agree."""
    context = ssl.create_default_context(cadata=authority)
    context.set_alpn_protocols(protocols)
    context.maximum_version = most
    host, _, port = address.partition(":")
    with (
        socket.create_connection((host, int(port)), timeout=30) as connection,
        context.wrap_socket(connection, server_hostname=host) as encrypted,
    ):
        return encrypted.selected_alpn_protocol()
