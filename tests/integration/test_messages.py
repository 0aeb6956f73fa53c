"""Messages to calls that detect nothing: who may send them, of which size, and what is said of those that are none."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import yaml
from support.calls import connected, failure
from support.onnx_files import tiny_onnx
from support.rich_errors import info_of, leak_in, reason_of
from support.servers import server_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.calls import Client
    from support.servers import ServerProcess

INVALID, EXHAUSTED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
TIMEOUT_S = 30
MAX_BYTES = 4096

LIST = ("public", "/detector.v1.ModelService/ListModels")
GET = ("public", "/detector.v1.ModelService/GetModel")
CHECK = ("public", "/grpc.health.v1.Health/Check")
WATCH = ("public", "/grpc.health.v1.Health/Watch")
REFLECTION = ("public", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
LOAD = ("admin", "/detector.v1.ModelAdminService/LoadModelVersion")
UNLOAD = ("admin", "/detector.v1.ModelAdminService/UnloadModelVersion")
METHODS = [LIST, GET, CHECK, WATCH, REFLECTION, LOAD, UNLOAD]
STREAMED = {WATCH, REFLECTION}

NO_MESSAGE = b"\xff\xff\xff"
UNKNOWN_FIELD = b"\xfa\x7f"  # field 2047, which a newer contract may have; its length and its bytes follow


class Started:
    """A server that knows one caller, and clients of both its ports."""

    def __init__(self, server: ServerProcess, clients: dict[str, Client]) -> None:
        self.server = server
        self.clients = clients

    def send(self, method: tuple[str, str], *messages: bytes, known: bool = True) -> Any:
        """Sends bytes as they are, and returns the first answer."""
        port, path = method
        channel = self.clients[port].channel
        metadata = (("authorization", "Bearer secret"),) if known else ()
        if method in STREAMED:
            return next(channel.stream_stream(path)(iter(messages), timeout=TIMEOUT_S, metadata=metadata))
        return channel.stream_unary(path)(iter(messages), timeout=TIMEOUT_S, metadata=metadata)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp("messages")
    tiny_onnx(folder / "models" / "tiny" / "v1" / "model.onnx")
    callers = folder / "callers.yaml"
    entry = {"caller": "all", "token_sha256": hashlib.sha256(b"secret").hexdigest(), "classes": ["read", "admin"]}
    callers.write_text(yaml.safe_dump([entry]))
    with server_process(repository=folder / "models", auth_callers_file=callers) as server:
        server.wait_for_log("version ready")
        with connected(server.address) as client, connected(server.admin_address) as admin:
            yield Started(server, {"public": client, "admin": admin})


def sized(size_bytes: int) -> bytes:
    """A message of unknown fields only, which are read as if they were not there."""
    content = size_bytes - len(UNKNOWN_FIELD) - 2
    return UNKNOWN_FIELD + bytes([content & 0x7F | 0x80, content >> 7]) + bytes(content)


@pytest.mark.parametrize("method", METHODS)
def test_bytes_that_are_no_message_are_an_invalid_request(started: Started, method: tuple[str, str]) -> None:
    error = failure(lambda: started.send(method, NO_MESSAGE))

    info = info_of(error)
    assert (error.code(), info.reason, info.domain) == (INVALID, "INVALID_REQUEST", "detector.v1")
    assert error.details() == "the 3 bytes are no message of this method"
    assert not leak_in(error)
    assert "Traceback" not in started.server.text


@pytest.mark.parametrize("method", [method for method in METHODS if method != REFLECTION])
def test_a_call_without_a_message_is_an_invalid_request(started: Started, method: tuple[str, str]) -> None:
    error = failure(lambda: started.send(method))

    assert (error.code(), reason_of(error)) == (INVALID, "INVALID_REQUEST")
    assert error.details() == "the call has no request message"
    assert "Traceback" not in started.server.text


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size_bytes", [MAX_BYTES + 1, 1 << 20])
def test_more_than_names_is_refused_with_both_sizes(started: Started, method: tuple[str, str], size_bytes: int) -> None:
    error = failure(lambda: started.send(method, bytes(size_bytes)))

    info = info_of(error)
    assert (error.code(), info.reason) == (EXHAUSTED, "MESSAGE_TOO_LARGE")
    assert error.details() == f"the request has {size_bytes} bytes, the limit is {MAX_BYTES}"
    assert dict(info.metadata) == {"sizeBytes": str(size_bytes), "maxBytes": str(MAX_BYTES)}


@pytest.mark.parametrize("method", [LIST, GET, CHECK, WATCH])
def test_a_message_of_the_largest_size_is_taken(started: Started, method: tuple[str, str]) -> None:
    assert len(sized(MAX_BYTES)) == MAX_BYTES

    assert started.send(method, sized(MAX_BYTES))


@pytest.mark.parametrize("method", [LIST, GET, REFLECTION, LOAD, UNLOAD])
def test_nothing_is_read_of_those_who_may_not_call(started: Started, method: tuple[str, str]) -> None:
    for message in (NO_MESSAGE, bytes(MAX_BYTES + 1)):
        error = failure(lambda message=message: started.send(method, message, known=False))

        assert error.code() is UNAUTHENTICATED


@pytest.mark.parametrize("method", [LIST, GET, LOAD, UNLOAD])
def test_who_may_not_call_hears_so_without_having_sent_a_message(started: Started, method: tuple[str, str]) -> None:
    port, path = method
    never = threading.Event()
    call = started.clients[port].channel.stream_unary(path).future(waiting(never), timeout=TIMEOUT_S)
    try:
        assert failure(call.result).code() is UNAUTHENTICATED
    finally:
        never.set()


def waiting(event: threading.Event) -> Iterator[bytes]:
    """No message, and no end before the event."""
    event.wait(TIMEOUT_S)
    yield from ()
