"""What callers prove themselves with stays out of the log, however they write it."""

from __future__ import annotations

import hashlib
import socket
import struct
from typing import TYPE_CHECKING

import grpc
import pytest
import yaml
from support.calls import connected, failure, wait_until
from support.onnx_files import tiny_onnx
from support.servers import PATIENCE_S, server_process

from detector_grpc._gen.detector.v1.model_service_pb2 import ListModelsRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import ServerProcess

PROOF = "of ann, and of nobody else"
LIST = b"/detector.v1.ModelService/ListModels"
END_HEADERS, END_STREAM = 0x4, 0x1
DATA, HEADERS, SETTINGS = 0x0, 0x1, 0x4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("secrets")
    tiny_onnx(folder / "models" / "tiny" / "v1" / "model.onnx")
    entry = {"caller": "ann", "token_sha256": hashlib.sha256(PROOF.encode()).hexdigest(), "classes": ["read"]}
    callers = folder / "callers.yaml"
    callers.write_text(yaml.safe_dump([entry]))
    with server_process(repository=folder / "models", auth_callers_file=callers) as server:
        server.wait_for_log("version ready")
        yield server


def framed(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header as HPACK has it without any table (RFC 7541, 6.2.2); both are shorter than 127 bytes."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def call(server: ServerProcess, path: bytes, *headers: tuple[bytes, bytes]) -> bytes:
    """Makes a call as no gRPC client would, and returns what comes back until it is over."""
    every = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"localhost"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        *headers,
    ]
    with socket.create_connection((server.host, server.port), PATIENCE_S) as connection:
        connection.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + framed(SETTINGS, 0, 0, b"")
            + framed(HEADERS, END_HEADERS, 1, b"".join(literal(*header) for header in every))
            + framed(DATA, END_STREAM, 1, bytes(5))  # a message without any field
        )
        with connection.makefile("rb") as answer:
            received = b""
            while len(head := answer.read(9)) == 9:
                length, kind, flags, stream = int.from_bytes(head[:3]), head[3], head[4], int.from_bytes(head[5:])
                received += answer.read(length)
                if stream == 1 and (kind not in (DATA, HEADERS) or flags & END_STREAM):
                    return received
    raise AssertionError(f"the connection ended before the call did: {received!r}")


def test_a_header_that_is_no_text_is_told_of_and_not_shown(server: ServerProcess) -> None:
    call(server, LIST, (b"authorization", f"Bearer {PROOF}\xff".encode("latin-1")))

    told = server.wait_for_log("a header of a call is not UTF-8; what it says is not shown, since it may be a secret")
    assert told["level"] == "WARNING"
    assert server.wait_for_log("call", method=LIST.decode())["code"] == "UNAUTHENTICATED"
    assert PROOF not in server.text
    assert "Traceback" not in server.text
    assert len(server.lines) == len(server.log())  # nothing but JSON


def test_a_header_that_is_no_text_keeps_nobody_from_calling(server: ServerProcess) -> None:
    known = (b"authorization", f"Bearer {PROOF}".encode())
    for name in (b"x-request-id", b"x-model-version", b"x-anything"):
        call(server, LIST, known, (name, b"caf\xe9"))
    with connected(server.address) as client:
        client.models.ListModels(ListModelsRequest(), metadata=(("authorization", f"Bearer {PROOF}"),))

    wait_until(lambda: len(server.log("call", caller="ann")) == 4, "the lines of all calls")
    assert {entry["code"] for entry in server.log("call", caller="ann")} == {"OK"}
    assert "caf" not in server.text


def test_a_token_that_is_not_known_is_not_shown(server: ServerProcess) -> None:
    with connected(server.address) as client:
        metadata = (("authorization", "Bearer guessed-by-somebody"),)
        error = failure(lambda: client.models.ListModels(ListModelsRequest(), metadata=metadata))

    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "guessed" not in error.details() + server.text
