"""Reading messages, with real calls."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from detector_grpc.interceptors.calls import CallsInterceptor
from detector_grpc.interceptors.errors import ErrorsInterceptor
from detector_grpc.interceptors.later import Later
from detector_grpc.interceptors.messages import MAX_NAMES_BYTES, MessagesInterceptor
from detector_grpc.rpc.status import rich_status

TIMEOUT_S = 10


def stack(timeout_s: float = TIMEOUT_S) -> list[grpc.aio.ServerInterceptor]:
    return [CallsInterceptor(Later(), []), ErrorsInterceptor(rich_status), MessagesInterceptor(timeout_s)]


def text(data: bytes) -> bytes:
    return b"read " + data.decode("ascii").encode()


def handlers(service: Any) -> dict[str, Any]:
    return {
        "UnaryUnary": grpc.unary_unary_rpc_method_handler(service.unary_unary, text),
        "UnaryWrite": grpc.unary_stream_rpc_method_handler(service.unary_write, text),
        "StreamStream": grpc.stream_stream_rpc_method_handler(service.stream_stream, text),
        "Raw": grpc.unary_unary_rpc_method_handler(service.unary_unary),
    }


@pytest.mark.parametrize("method", ["UnaryUnary", "UnaryWrite", "StreamStream"])
async def test_a_handler_gets_the_message_whatever_its_arity(start: Any, service: Any, method: str) -> None:
    client = await start(stack(), handlers=handlers(service))
    answers, code, _ = await client.finish(client.start(method, b"it"))
    assert (answers[-1], code) == (b"answer to read it", grpc.StatusCode.OK)


async def test_each_message_of_a_stream_is_bounded_and_what_came_before_is_answered(start: Any, service: Any) -> None:
    client = await start(stack(), handlers=handlers(service))
    for wrong, said in ((bytes(MAX_NAMES_BYTES + 1), "the limit is 4096"), (b"\xff", "1 bytes are no message")):
        call = client.channel.stream_stream("/test.Service/StreamStream")(iter([b"one", wrong]))
        answers, _, details = await client.finish(call)
        assert answers == [b"first", b"answer to read one"]
        assert said in details


@pytest.mark.parametrize("method", ["UnaryUnary", "UnaryWrite"])
async def test_a_message_that_does_not_arrive_in_time_ends_the_call(start: Any, service: Any, method: str) -> None:
    client = await start(stack(timeout_s=0.1), handlers=handlers(service))
    silent = client.channel.stream_stream(f"/test.Service/{method}")()  # begins, and sends nothing
    await silent.wait_for_connection()
    _, code, details = await client.finish(silent)
    assert (code, details) == (grpc.StatusCode.DEADLINE_EXCEEDED, "the request did not arrive within 0.1 s")
    assert service.seen == []


async def test_a_method_that_takes_bytes_is_left_to_those_who_read_them(start: Any, service: Any) -> None:
    client = await start(stack(), handlers=handlers(service))
    _, code, _ = await client.finish(client.start("Raw", bytes(MAX_NAMES_BYTES + 1)))
    assert code is grpc.StatusCode.OK
