"""What Envoy refuses itself has the words and the shape of the servers' own errors."""

from __future__ import annotations

import signal
import socket
import time
from collections import Counter
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import grpc
import numpy as np
import psutil
import pytest
from support.calls import DETECT, connected, encoded_request, failure
from support.gateways import running_gateway, tiny_repository
from support.pictures import png
from support.raw_calls import raw_call
from support.rest import Rest
from support.rich_errors import reason_of
from support.servers import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.calls import Client
    from support.gateways import Gateway

PICTURE = png(np.zeros((64, 64, 3), np.uint8))
REQUEST = encoded_request(PICTURE)
MAX_MESSAGE_BYTES = 1024 * 1024
MAX_BODY_BYTES = MAX_MESSAGE_BYTES - 4096
RECEIVE_TIMEOUT_S = 1.0
CHECK = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    plan = {"max_message_bytes": MAX_MESSAGE_BYTES, "receive_timeout_s": RECEIVE_TIMEOUT_S}
    with running_gateway(
        tmp_path_factory.mktemp("gateway"), plan=plan, limits_max_message_bytes=MAX_MESSAGE_BYTES
    ) as gateway:
        yield gateway


@pytest.fixture
def rest(gateway: Gateway) -> Iterator[Rest]:
    with closing(Rest(gateway.address)) as rest:
        yield rest


@pytest.mark.parametrize(
    "path",
    [
        b"/detector.v1.DetectorService/\xff",
        b"/detector.v1.DetectorService/Detect?\xff",
        b"/detector.v1.DetectorService/StreamDetect?\xff",
        b"/detector.v1.ModelService/\xff",
        b"/grpc.health.v1.Health/Watch?\xff",
        b"/grpc.reflection.v1alpha\xc3",
        "/caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode(),
    ],
)
def test_a_path_that_is_not_ascii_reaches_no_server(gateway: Gateway, path: bytes) -> None:
    for metadata in ((), ((b"x-model-version", b"v2"),)):
        raw_call(gateway.address, path, *metadata)

    with connected(gateway.address) as client:
        assert client.detect(REQUEST).version == "v1"
    assert gateway.servers[0].log(level="ERROR") == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "reason", "named"),
    [
        ("GET", "/predict", 405, 12, "HTTP_METHOD_NOT_ALLOWED", "/predict takes POST, OPTIONS, not GET"),
        ("PUT", "/v2/predict", 405, 12, "HTTP_METHOD_NOT_ALLOWED", "/v2/predict takes POST, OPTIONS, not PUT"),
        ("DELETE", "/models", 405, 12, "HTTP_METHOD_NOT_ALLOWED", "/models takes GET, OPTIONS, not DELETE"),
        ("POST", "/predict#here", 400, 3, "INVALID_REQUEST", "is no HTTP that can be read"),
        ("GET", "/", 503, 14, "NO_SERVER_READY", "no server can answer"),
    ],
)
def test_a_request_that_is_none_gets_json(
    rest: Rest, method: str, path: str, status: int, code: int, reason: str, named: str
) -> None:
    answer = rest(method, path, PICTURE if method == "POST" else None, "image/png")

    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert answer.json.keys() == {"code", "message", "details"}
    assert answer.json["code"] == code
    assert named in answer.json["message"]
    (info,) = answer.json["details"]
    assert (info["@type"], info["domain"]) == ("type.googleapis.com/google.rpc.ErrorInfo", "detector.v1")
    assert info["reason"] == reason


@pytest.mark.parametrize("path", ["/predict", "/v1/predict", "/annotate", "/predict/", "//v1//predict"])
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_of_another_kind_is_refused(rest: Rest, path: str, content_type: str) -> None:
    answer = rest("POST", path, PICTURE, content_type)

    assert answer.status == 415
    assert answer.json["details"][0]["reason"] == "CONTENT_TYPE_UNSUPPORTED"


@pytest.mark.parametrize(
    "content_type", ["image/png", "IMAGE/JPEG", "application/json", "multipart/form-data; boundary=x"]
)
def test_a_body_of_a_known_kind_reaches_a_server(rest: Rest, content_type: str) -> None:
    assert rest("POST", "/predict", PICTURE, content_type).status not in {404, 405, 413, 415, 503}


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/predict", "POST"), ("/v1/annotate", "POST"), ("/models", "GET"), (DETECT, "POST"), (CHECK, "POST")],
)
def test_who_asks_or_errs_is_told_which_methods_a_path_takes(rest: Rest, path: str, methods: str) -> None:
    for method, status in (("OPTIONS", 204), ("HEAD", 405), ("PATCH", 405)):
        answer = rest(method, path)
        assert (answer.status, answer.headers["allow"]) == (status, f"{methods}, OPTIONS")
        assert bool(answer.body) is (method == "PATCH")


@pytest.mark.parametrize("path", [DETECT, "/detector.v1.ModelService/ListModels", CHECK, REFLECTION])
@pytest.mark.parametrize(
    "content_type", ["application/json", "", "multipart/form-data; boundary=x", "application/grpcx"]
)
def test_what_is_no_call_of_grpc_is_told_so_where_there_are_only_those(
    rest: Rest, path: str, content_type: str
) -> None:
    answer = rest("POST", path, b"{}", content_type)

    assert (answer.status, answer.json["code"]) == (415, 3)
    assert "content type must be application/grpc or application/grpc-web" in answer.json["message"]
    assert answer.json["details"][0]["reason"] == "CONTENT_TYPE_UNSUPPORTED"


def test_a_body_may_have_as_many_bytes_as_the_limit_and_no_more(rest: Rest) -> None:
    assert rest("POST", "/predict", bytes(MAX_BODY_BYTES), "image/png").json["code"] not in {8, 13, 14}

    over = rest("POST", "/predict", bytes(MAX_BODY_BYTES + 1), "image/png")
    assert over.status == 413
    assert f"more than {MAX_BODY_BYTES} bytes" in over.json["message"]
    assert over.json["details"][0] == {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "domain": "detector.v1",
        "reason": "MESSAGE_TOO_LARGE",
        "metadata": {"maxBytes": str(MAX_BODY_BYTES)},
    }


def test_grpc_has_the_limit_of_the_servers_and_their_error(gateway: Gateway) -> None:
    with connected(gateway.address) as client:
        error = failure(lambda: client.detect(encoded_request(bytes(MAX_MESSAGE_BYTES))))

    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(error) == "MESSAGE_TOO_LARGE"


@pytest.mark.parametrize("headers", [{"x_long": "a" * 100_000}, {f"x_{number}": "a" for number in range(200)}])
def test_bombs_of_headers_are_refused(rest: Rest, headers: dict[str, str]) -> None:
    answer = rest("GET", "/models", **headers)

    assert answer.status == 431
    assert answer.json["details"][0]["reason"] == "HEADERS_TOO_LARGE"


@pytest.mark.parametrize("grows", [False, True], ids=["silent", "a byte now and then"])
def test_an_upload_that_never_ends_is_ended(gateway: Gateway, grows: bool) -> None:  # noqa: FBT001
    host, _, port = gateway.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        started = time.monotonic()
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nhost: gateway\r\ncontent-type: image/png\r\ncontent-length: 100000\r\n\r\nx"
        )
        connection.settimeout(0.1 if grows else PATIENCE_S)
        answer = b""
        while not answer:
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                connection.sendall(b"x")

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"RECEIVE_TIMEOUT" in answer
    assert 0.9 * RECEIVE_TIMEOUT_S < time.monotonic() - started < 60


def test_many_uploads_that_never_end_take_no_memory(gateway: Gateway) -> None:
    host, _, port = gateway.address.rpartition(":")
    head = b"POST /predict HTTP/1.1\r\nhost: gateway\r\ncontent-type: image/png\r\ncontent-length: 1000000\r\n\r\n"
    envoy = psutil.Process(gateway.envoy.process.pid)
    before = envoy.memory_info().rss
    with ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection((host, int(port)), PATIENCE_S)) for _ in range(300)]
        for connection in connections:
            connection.sendall(head + bytes(1000))
        answers = Counter(connection.recv(12) for connection in connections)
        grown = envoy.memory_info().rss - before

    assert answers == {b"HTTP/1.1 408": 300}
    assert grown < 64 * 1024 * 1024


@pytest.mark.parametrize("name", ["LoadModelVersion", "UnloadModelVersion"])
@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc-web+proto", "application/json"])
def test_orders_to_servers_are_not_routed(rest: Rest, name: str, content_type: str) -> None:
    answer = rest("POST", f"/detector.v1.ModelAdminService/{name}", b"\0\0\0\0\0", content_type)

    if content_type == "application/grpc":
        assert answer.headers["grpc-status"] == str(grpc.StatusCode.UNIMPLEMENTED.value[0])
    else:
        assert answer.status == 503  # of the pages, which nobody serves here


def test_without_a_healthy_server_rest_gets_json_and_grpc_a_grpc_error(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway, closing(Rest(gateway.address)) as rest:
        gateway.servers[0].send(signal.SIGKILL)
        gateway.wait_until_healthy(0)

        for path in ("/predict", "/v2/predict"):
            answer = rest("POST", path, PICTURE, "image/png")
            assert (answer.status, answer.json["code"]) == (503, 14)
            assert answer.json["message"] == "no server can answer now"
        with connected(gateway.address) as client:
            error = failure(lambda: client.detect(REQUEST))
            assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "no healthy upstream")


def test_balancers_see_at_health_that_envoy_is_about_to_leave(tmp_path: Path) -> None:
    with running_gateway(tmp_path, http=True) as gateway, closing(Rest(gateway.address)) as rest:
        assert rest("GET", "/health").status == 200

        gateway.admin.fail_health_check()

        for path in ("/health", "/health?verbose", "/health/"):
            answer = rest("GET", path)
            assert (answer.status, answer.json["code"]) == (503, 14)
            assert answer.json["details"][0]["reason"] == "SHUTTING_DOWN"
        assert rest("POST", "/predict", PICTURE, "image/png").status == 200


DEADLINE_S = 0.1


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory, half_second: int) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("slow")
    repository = tiny_repository(folder / "models", ("v1",), cost=2 * half_second)
    plan = {"versions": ("v1",), "request_timeout_s": DEADLINE_S}
    with running_gateway(folder, plan=plan, repository=repository) as gateway:
        yield gateway


class TestDeadline:
    """Of calls that take far longer, about a second."""

    @pytest.fixture
    def client(self, slow: Gateway) -> Iterator[Client]:
        with connected(slow.address) as client:
            yield client

    def test_of_the_caller_may_be_longer_than_the_gateway_s(self, client: Client) -> None:
        assert client.detect(REQUEST).timing.inference_ms > 1000 * DEADLINE_S

    @pytest.mark.parametrize("own", [True, False], ids=["the caller's", "the gateway's"])
    def test_ends_the_call_everywhere(self, slow: Gateway, client: Client, own: bool) -> None:  # noqa: FBT001
        metadata = (("x-request-id", f"deadline-{own}"),)
        timeout_s = DEADLINE_S if own else None

        error = failure(lambda: client.detector.Detect(REQUEST, timeout=timeout_s, metadata=metadata))

        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        # By its own clock or by Envoy, whichever was first.
        ended = slow.servers[0].wait_for_log("call", request_id=f"deadline-{own}")
        assert ended["code"] in {"DEADLINE_EXCEEDED", "CANCELLED"}


def test_no_header_of_a_caller_for_envoy_is_heard(gateway: Gateway, rest: Rest) -> None:
    before = len(gateway.admin.stats("."))
    for number in range(20):
        asked = {"x_envoy_upstream_alt_stat_name": f"made-up-{number}", "x_envoy_upstream_rq_timeout_ms": "1"}
        assert rest("POST", "/predict", PICTURE, "image/png", **asked).status == 200
    assert len(gateway.admin.stats(".")) < before + 20


def test_headers_as_long_as_they_may_be_reach_a_server(rest: Rest) -> None:
    assert rest("POST", "/predict", PICTURE, "image/png", x_user_id="x" * 50_000).status == 200
