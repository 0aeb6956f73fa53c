from __future__ import annotations

import gzip
import re
import signal
import socket
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest
from support.calls import NOT_SERVING, SERVING, connected, encoded_request, failure, wait_until
from support.gateway_http import COMMAND, NOBODY, gateway_http
from support.metrics import settled_metrics
from support.onnx_files import tiny_onnx
from support.pictures import noise, png
from support.servers import ServerProcess, server_process, variables

from detector_grpc.gateway.local_errors import LOCAL_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.gateway_http import GatewayHttp

# More than a probe or a scrape may take, which are given up after 2 s; what hangs here does so for ever.
BOUND_S = 20.0

PAGES = ("/", "/docs", "/redoc")


@pytest.fixture(scope="module")
def alone() -> Iterator[GatewayHttp]:
    """A process that stands before no server."""
    with gateway_http() as gateway:
        yield gateway


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[ServerProcess]]:
    """Two servers of one model in versions v1 and v2, which are ready."""
    for version in ("v1", "v2"):
        tiny_onnx(tmp_path / "tiny" / version / "model.onnx")
    with ExitStack() as stack:
        started = [stack.enter_context(server_process(repository=tmp_path)) for _ in range(2)]
        for server in started:
            stack.enter_context(connected(server.address)).wait_for_status(SERVING)
        yield started


@contextmanager
def frozen(server: ServerProcess) -> Iterator[None]:
    """A server that takes connections and never answers."""
    server.send(signal.SIGSTOP)
    try:
        yield
    finally:
        server.send(signal.SIGCONT)


def kill(server: ServerProcess) -> None:
    server.send(signal.SIGKILL)
    server.wait()


class TestPages:
    @pytest.mark.parametrize("path", PAGES)
    def test_name_nothing_that_is_not_here(self, alone: GatewayHttp, path: str) -> None:
        html = alone.ask(path).body.decode()

        for address in re.findall(r'(?:src|href)="([^"]*)"', html):
            if address.startswith("/static/"):
                assert alone.ask(address).status == 200, address
            else:
                assert address in PAGES or address == "/health", address
        assert "//" not in html.replace("<!doctype html>", "").replace("http://www.w3.org", "")

    @pytest.mark.parametrize("path", PAGES)
    def test_are_asked_for_again_and_sent_once(self, alone: GatewayHttp, path: str) -> None:
        first = alone.ask(path)
        again = alone.ask(path, if_none_match=first.headers["ETag"])

        assert first.headers["Cache-Control"] == "no-cache"
        assert (again.status, again.body) == (304, b"")

    @pytest.mark.parametrize("path", [*PAGES, "/health", "/nowhere"])
    def test_and_all_else_let_no_other_site_in(self, alone: GatewayHttp, path: str) -> None:
        headers = alone.ask(path).headers

        policy = dict(each.split(" ", 1) for each in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert "script-src" not in policy  # so as default-src says: no inline scripts, no others' scripts
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Server"] == "detector-grpc"


class TestStaticFiles:
    def test_are_kept_for_good_under_a_name_that_changes_with_them(self, alone: GatewayHttp) -> None:
        (address,) = re.findall(r'"(/static/[^"]+/swagger-ui-bundle.js)"', alone.ask("/docs").body.decode())
        answer = alone.ask(address)

        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
        digest = address.split("/")[2]
        assert alone.ask(address.replace(digest, "0" * len(digest))).status == 404

    def test_are_compressed_for_those_who_can_read_it(self, alone: GatewayHttp) -> None:
        (address,) = re.findall(r'"(/static/[^"]+/swagger-ui-bundle.js)"', alone.ask("/docs").body.decode())
        plain, compressed = alone.ask(address), alone.ask(address, accept_encoding="br, gzip")

        assert "Content-Encoding" not in plain.headers
        assert compressed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(compressed.body) == plain.body
        assert plain.headers["Vary"] == compressed.headers["Vary"] == "Accept-Encoding"


class TestErrors:
    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/nowhere", 404),
            ("GET", "/static/x/../../etc/passwd", 404),
            ("GET", "/static/%2e%2e/%2e%2e/etc/passwd", 404),
            ("POST", "/health", 405),
            ("DELETE", "/", 405),
            ("GET", "/traffic", 503),  # nobody has prepared a gateway
        ],
    )
    def test_are_those_of_the_rest_api(self, alone: GatewayHttp, method: str, path: str, status: int) -> None:
        answer = alone.ask(path, method)

        assert answer.status == status
        assert answer.json.keys() == {"code", "message", "details"}
        assert answer.json["code"] == LOCAL_ERRORS[status].code
        (info,) = answer.json["details"]
        assert (info["reason"], info["domain"]) == (LOCAL_ERRORS[status].reason, "detector.v1")

    def test_of_a_method_say_which_there_are(self, alone: GatewayHttp) -> None:
        answer = alone.ask("/metrics", "PUT")

        assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"
        assert answer.json["message"] == "/metrics takes GET, HEAD, OPTIONS, not PUT"


@pytest.mark.parametrize("path", [*PAGES, "/health", "/metrics", "/openapi.json"])
class TestEveryPath:
    def test_says_which_methods_it_takes(self, alone: GatewayHttp, path: str) -> None:
        answer = alone.ask(path, "OPTIONS")

        assert (answer.status, answer.headers["Allow"], answer.body) == (204, "GET, HEAD, OPTIONS", b"")

    def test_gives_its_headers_alone(self, alone: GatewayHttp, path: str) -> None:
        whole, head = alone.ask(path), alone.ask(path, "HEAD")

        assert (head.status, head.body) == (whole.status, b"")
        assert head.headers["Content-Type"] == whole.headers["Content-Type"]


@pytest.mark.parametrize("path", ["/docs/", "/redoc/", "/health/", "/docs/?a=b"])
def test_a_slash_at_the_end_leads_to_the_same_path_without_it(alone: GatewayHttp, path: str) -> None:
    answer = alone.ask(path)

    assert (answer.status, answer.headers["Location"]) == (308, path.replace("/?", "?").removesuffix("/"))


@pytest.mark.parametrize("path", ["//evil.example/", "/nowhere/", "//docs//"])
def test_no_other_slash_leads_anywhere(alone: GatewayHttp, path: str) -> None:
    answer = alone.ask(path)

    assert answer.status == 404 or answer.headers["Location"] == "/docs"


class TestHealth:
    def test_says_of_every_version_on_how_many_servers_it_is_ready(self, servers: list[ServerProcess]) -> None:
        with gateway_http(servers) as gateway:
            answer = gateway.ask("/health")

        assert answer.status == 200
        assert answer.json == {
            "status": "SERVING",
            "versions": [
                {"model": "tiny", "version": "v1", "ready": True, "ready_servers": 2},
                {"model": "tiny", "version": "v2", "ready": True, "ready_servers": 2},
            ],
            "servers": [{"address": server.address, "status": "SERVING"} for server in servers],
        }

    def test_is_good_while_one_server_is_left(self, servers: list[ServerProcess]) -> None:
        with gateway_http(servers) as gateway:
            kill(servers[0])
            answer = gateway.ask("/health")

        assert answer.status == 200
        assert [version["ready_servers"] for version in answer.json["versions"]] == [1, 1]
        assert [server["status"] for server in answer.json["servers"]] == ["UNREACHABLE", "SERVING"]

    def test_is_503_when_no_server_is_left(self, servers: list[ServerProcess]) -> None:
        with gateway_http(servers) as gateway:
            for server in servers:
                kill(server)
            answer = gateway.ask("/health")

        assert answer.status == 503
        assert answer.json["status"] == "NOT_SERVING"
        assert answer.json["versions"] == []

    def test_does_not_wait_for_a_server_that_hangs(self, servers: list[ServerProcess]) -> None:
        with gateway_http(servers) as gateway, frozen(servers[0]):
            asked = time.monotonic()
            answer = gateway.ask("/health")
            took_s = time.monotonic() - asked

        assert [server["status"] for server in answer.json["servers"]] == ["UNREACHABLE", "SERVING"]
        assert answer.status == 200
        assert took_s < BOUND_S

    def test_sees_a_server_that_is_back_at_once(self, servers: list[ServerProcess]) -> None:
        with gateway_http(servers[:1]) as gateway:
            with frozen(servers[0]):
                while_frozen = gateway.ask("/health")
            afterwards = gateway.ask("/health")

        assert (while_frozen.status, afterwards.status) == (503, 200)

    def test_counts_no_version_of_a_server_that_drains(self, tmp_path: Path) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
        with (
            server_process(repository=tmp_path, server_drain_wait_s=30) as server,
            connected(server.address) as client,
            gateway_http([server]) as gateway,
        ):
            client.wait_for_status(SERVING)
            server.send(signal.SIGTERM)
            client.wait_for_status(NOT_SERVING)
            answer = gateway.ask("/health")

        assert answer.status == 503
        assert answer.json["versions"] == [{"model": "tiny", "version": "v1", "ready": False, "ready_servers": 0}]
        assert answer.json["servers"] == [{"address": server.address, "status": "NOT_SERVING"}]


class TestMetrics:
    def test_of_all_servers_add_up(self, servers: list[ServerProcess]) -> None:
        for server, calls in zip(servers, (3, 4), strict=True):
            with connected(server.address) as client:
                for _ in range(calls):
                    client.detect(encoded_request(png(noise(32, 32)), version="v1"))
                failure(lambda client=client: client.detect(encoded_request(b"no picture", version="v2")))
        with ExitStack() as stack:
            clients = [stack.enter_context(connected(server.address)) for server in servers]
            parts = [settled_metrics(server, client) for server, client in zip(servers, clients, strict=True)]
            gateway = stack.enter_context(gateway_http(servers))
            summed = gateway.metrics()

        requests = "object_detection_requests_total"
        assert summed.value(requests, model="tiny", version="v1", status="ok") == 7
        assert summed.value(requests, model="tiny", version="v2", status="invalid_argument") == 2
        for (name, labels), value in parts[0].samples.items():
            if name.startswith("object_detection_") and not name.endswith("_created"):
                expected = value + parts[1].samples[name, labels]
                assert summed.samples[name, labels] == pytest.approx(expected), (name, labels)
        provider = {"model": "tiny", "version": "v1", "provider": "CPUExecutionProvider"}
        assert summed.value("object_detection_execution_provider", **provider) == 2

    def test_that_make_no_sum_are_shown_for_each_server(self, servers: list[ServerProcess]) -> None:
        with gateway_http(servers) as gateway:
            labels = gateway.metrics().labels("process_start_time_seconds")

        assert labels == [{"server": f"{server.host}:{server.metrics_port}"} for server in servers]

    @pytest.mark.parametrize("ends", [kill, frozen], ids=["down", "hanging"])
    def test_that_cannot_be_had_are_missed_and_no_counter_falls(
        self, servers: list[ServerProcess], ends: object
    ) -> None:
        requests = {"model": "tiny", "version": "v1", "status": "ok"}
        for server in servers:
            with connected(server.address) as client:
                client.detect(encoded_request(png(noise(32, 32)), version="v1"))
                settled_metrics(server, client)
        with gateway_http(servers) as gateway:
            before = gateway.metrics()
            with frozen(servers[0]) if ends is frozen else ExitStack():
                if ends is kill:
                    kill(servers[0])
                asked = time.monotonic()
                after = gateway.metrics()
                took_s = time.monotonic() - asked

        up = [after.value("object_detection_server_up", server=f"127.0.0.1:{each.metrics_port}") for each in servers]
        assert up == [0, 1]
        assert took_s < BOUND_S
        for metrics in (before, after):
            assert metrics.value("object_detection_requests_total", **requests) == 2
        assert before.value("object_detection_execution_provider", **provider("v1")) == 2
        assert after.value("object_detection_execution_provider", **provider("v1")) == 1

    def test_of_a_server_that_was_replaced_stay_in_the_sum(self, tmp_path: Path) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            metrics_port = probe.getsockname()[1]
        answered = {"model": "tiny", "version": "v1", "status": "ok"}
        counts = []
        with gateway_http(gateway_server_metrics=f"127.0.0.1:{metrics_port}") as gateway:
            for calls in (3, 2):
                with (
                    server_process(repository=tmp_path, server_metrics_port=metrics_port) as server,
                    connected(server.address) as client,
                ):
                    client.wait_for_status(SERVING)
                    for _ in range(calls):
                        client.detect(encoded_request(png(noise(32, 32)), version="v1"))
                    settled_metrics(server, client)
                    counts.append(gateway.metrics().value("object_detection_requests_total", **answered))

        assert counts == [3, 5]

    def test_of_nobody_say_so(self, alone: GatewayHttp) -> None:
        metrics = alone.metrics()

        assert metrics.samples == {("object_detection_server_up", frozenset({("server", NOBODY)})): 0}


class TestProcess:
    def test_stops_in_order(self, servers: list[ServerProcess]) -> None:
        with gateway_http(servers) as gateway:
            gateway.ask("/health")
            gateway.process.send(signal.SIGTERM)

            assert gateway.process.wait() == 0
            assert {line["level"] for line in gateway.process.log()} == {"INFO"}

    def test_answers_what_was_asked_before_it_stops(self, servers: list[ServerProcess]) -> None:
        with gateway_http(servers[:1]) as gateway, frozen(servers[0]):
            with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                wait_until(lambda: is_connected_to(gateway.process, servers[0].port), "the server was asked")
                gateway.process.send(signal.SIGTERM)
                answer = connection.makefile("rb").read()
            code = gateway.process.wait()

        assert answer.startswith(b"HTTP/1.1 503 ")
        assert code == 0

    def test_names_a_port_that_is_taken(self, alone: GatewayHttp) -> None:
        process = ServerProcess(variables({"gateway_http_port": alone.port}), COMMAND)
        try:
            assert process.wait() == 2
        finally:
            process.close()

        assert process.text.startswith(f"Error: cannot listen on 127.0.0.1:{alone.port} (DETECTOR_GATEWAY_HTTP_PORT)")


def provider(version: str) -> dict[str, str]:
    return {"model": "tiny", "version": version, "provider": "CPUExecutionProvider"}


def is_connected_to(process: ServerProcess, port: int) -> bool:
    connections = psutil.Process(process.process.pid).net_connections()
    return any(each.raddr and each.raddr.port == port for each in connections)
