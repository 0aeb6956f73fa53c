"""The gateway speaks TLS to clients where it has a certificate, for all that they speak, and nothing else suffers."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from click.testing import CliRunner
from support.calls import SERVING, connected, encoded_request, failure, wait_until
from support.certificates import Authority, channel_credentials
from support.gateway_http import gateway_http
from support.gateways import running_gateway, tiny_repository
from support.pictures import png
from support.ups import failed_up, up_process

from detector_grpc.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.gateways import Gateway
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


def test_servers_that_have_certificates_are_called_with_tls(tmp_path: Path, authority: Authority) -> None:
    with encrypted_gateway(tmp_path, authority, authority) as gateway:
        gateway.wait_until_healthy(1)
        with connected(gateway.address) as client:
            assert client.detect(REQUEST).version == "v1"
        trusted = gateway.state.plan().servers_authority
        with gateway_http(gateway.servers, gateway_servers_authority=trusted) as pages:
            assert pages.ask("/health").status == 200


@pytest.mark.parametrize(("signer", "host"), [("theirs", "127.0.0.1"), ("ours", "127.0.0.2")], ids=["signer", "name"])
def test_servers_whose_certificate_is_of_another_signer_or_name_are_not_called(
    tmp_path: Path, authority: Authority, signer: str, host: str
) -> None:
    other = authority if signer == "ours" else Authority(signer)
    with encrypted_gateway(tmp_path, authority, other, server_host=host) as gateway:
        refused = "cluster.servers.ssl.fail_verify_(error|san)$"
        wait_until(lambda: any(gateway.admin.stats(refused).values()), "a certificate that is refused")
        with connected(gateway.address) as client:
            assert failure(lambda: client.detect(REQUEST)).code() is grpc.StatusCode.UNAVAILABLE


@contextmanager
def encrypted_gateway(
    folder: Path, trusted: Authority, signer: Authority, server_host: str = "127.0.0.1"
) -> Iterator[Gateway]:
    """A gateway that trusts one authority before a server whose certificate another one has signed, perhaps."""
    file = folder / "authority.crt"
    file.write_bytes(trusted.certificate)
    certificate, key = signer.server().write(folder, "server")
    files = {"tls_certificate": certificate, "tls_private_key": key}
    with running_gateway(
        folder, plan={"servers_authority": str(file)}, healthy=False, server_host=server_host, **files
    ) as gateway:
        yield gateway


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
