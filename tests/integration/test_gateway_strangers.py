"""What no good client sends, byte by byte: whoever speaks HTTP/1 gets an answer of ours, and old clients work."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.gateways import running_gateway
from support.http import answer_to, connection, told
from support.pictures import png

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.gateways import Gateway

PICTURE = png(np.zeros((64, 64, 3), np.uint8))
UPLOAD = b"content-type: image/png\r\ncontent-length: %d\r\n\r\n%b" % (len(PICTURE), PICTURE)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("gateway"), http=True) as gateway:
        yield gateway


class TestOldClient:
    """One that speaks HTTP/1.0, names no host, and waits for the end of the connection."""

    @pytest.mark.parametrize("path", [b"/health", b"/models", b"/docs"])
    def test_gets_what_others_get(self, gateway: Gateway, path: bytes) -> None:
        assert told(gateway, b"GET %b HTTP/1.0\r\n\r\n" % path).status == 200

    def test_may_send_pictures(self, gateway: Gateway) -> None:
        answer = told(gateway, b"POST /v2/predict HTTP/1.0\r\n" + UPLOAD)

        assert answer.status == 200
        assert answer.json["version"] == "v2"

    def test_may_keep_its_connection(self, gateway: Gateway) -> None:
        with connection(gateway) as opened:
            for _ in range(3):
                opened.sendall(b"GET /health HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
                assert answer_to(opened).status == 200


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "tls/1.2"])
def test_who_asks_for_another_protocol_is_answered_in_this_one(gateway: Gateway, protocol: str) -> None:
    upgrade = f"host: x\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n".encode()

    assert told(gateway, b"GET /health HTTP/1.1\r\n" + upgrade).status == 200


@pytest.mark.parametrize("name", [b"*", b"5s1f`", b"x'y", b"!"])
def test_who_has_headers_that_grpc_has_no_names_for_is_answered(gateway: Gateway, name: bytes) -> None:
    assert told(gateway, b"POST /predict HTTP/1.1\r\nhost: x\r\n%b: 1\r\n%b" % (name, UPLOAD)).status == 200


def test_who_waits_to_be_asked_for_the_body_is_asked(gateway: Gateway) -> None:
    with connection(gateway) as opened:
        head, _, body = UPLOAD.partition(b"\r\n\r\n")
        opened.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n%b\r\n\r\n" % head)
        assert opened.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        opened.sendall(body)
        assert answer_to(opened).status == 200


POST = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\n"
REFUSED = {
    "no HTTP": (b"\x16\x03\x01 hello\r\n\r\n", 400, "INVALID_REQUEST"),
    "no host": (b"GET /models HTTP/1.1\r\n\r\n", 400, "INVALID_REQUEST"),
    "no method": (b"G@T /models HTTP/1.1\r\nhost: x\r\n\r\n", 400, "INVALID_REQUEST"),
    "a method that is not there": (b"TRACE /models HTTP/1.1\r\nhost: x\r\n\r\n", 405, "HTTP_METHOD_NOT_ALLOWED"),
    "a method of pages that is not there": (b"TRACE / HTTP/1.1\r\nhost: x\r\n\r\n", 405, "HTTP_METHOD_NOT_ALLOWED"),
    "a proxy": (b"CONNECT x:443 HTTP/1.1\r\nhost: x:443\r\n\r\n", 404, "PATH_NOT_FOUND"),
    "a broken header": (b"GET /models HTTP/1.1\r\nhost : x\r\n\r\n", 400, "INVALID_REQUEST"),
    "a header with a zero": (b"GET /models HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n", 400, "INVALID_REQUEST"),
    "a long path": (b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % (b"a" * 100_000), 431, "HEADERS_TOO_LARGE"),
    "a query that is not in ASCII": (b"GET /models?a=\xe4 HTTP/1.1\r\nhost: x\r\n\r\n", 400, "INVALID_REQUEST"),
    "two lengths": (POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\n", 400, "INVALID_REQUEST"),
    "a length and chunks": (POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", 400, "INVALID_REQUEST"),
    "a length that is none": (POST + b"content-length: abc\r\n\r\n", 400, "INVALID_REQUEST"),
    "chunks that are none": (POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400, "INVALID_REQUEST"),
    "another encoding": (POST + b"transfer-encoding: gzip\r\n\r\n", 501, "TRANSFER_ENCODING_UNSUPPORTED"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_who_is_refused_is_told_so_in_json(gateway: Gateway, name: str) -> None:
    request, status, reason = REFUSED[name]

    answer = told(gateway, request)

    assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (status, "application/json")
    assert answer.json.keys() == {"code", "message", "details"}
    assert answer.detail("ErrorInfo") | {"metadata": {}} == {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "domain": "detector.v1",
        "reason": reason,
        "metadata": {},
    }


@pytest.mark.parametrize("size", [1_000_000, 8_000_000])
@pytest.mark.parametrize("path", [b"/predict", b"/detector.v1.DetectorService/Detect"])
def test_who_is_refused_while_still_sending_can_read_why(gateway: Gateway, path: bytes, size: int) -> None:
    with connection(gateway) as opened:
        opened.sendall(
            b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % (path, size)
        )
        with suppress(ConnectionError):  # who sends on all the same finds it closed
            opened.sendall(bytes(size))
        answer = answer_to(opened)

    assert answer.status == 415
    assert answer.detail("ErrorInfo")["reason"] == "CONTENT_TYPE_UNSUPPORTED"
