"""Admission, with real calls."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from detector_grpc.errors import (
    DetectorError,
    InvalidRequest,
    MessageTooLarge,
    QueueFull,
    ReceiveTimeout,
    TooManyRequests,
)
from detector_grpc.interceptors.limits import LimitsInterceptor
from detector_grpc.serving.budget import ByteBudget

TIMEOUT_S = 10
INFER = "detector.v1.DetectorService"


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


class Refused:
    """What errors the interceptor raised; ends each such call with the error's reason."""

    def __init__(self) -> None:
        self.errors: list[DetectorError] = []

    def around(self, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        behaviour = handler.stream_unary
        assert behaviour is not None

        async def run(messages: object, context: Any) -> object:
            try:
                return await behaviour(messages, context)
            except DetectorError as error:
                self.errors.append(error)
                await context.abort(grpc.StatusCode.INTERNAL, error.reason)

        return grpc.stream_unary_rpc_method_handler(run, handler.request_deserializer, handler.response_serializer)


class Outer(grpc.aio.ServerInterceptor):
    def __init__(self) -> None:
        self.refused = Refused()

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        return self.refused.around(handler) if handler is not None and handler.request_streaming else handler


def limits(**changed: Any) -> LimitsInterceptor:
    values = {
        "max_message_bytes": 1000,
        "max_wire_bytes": 2000,
        "budget": ByteBudget(4000),
        "max_requests": 10,
        "max_streams": 2,
        "check": lambda _: None,
        "receive_timeout_s": TIMEOUT_S,
    }
    return LimitsInterceptor(**{**values, **changed})


class Holding:
    """A method that keeps every call until it is told to go on."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.go_on = asyncio.Event()
        self._arrived = asyncio.Condition()

    async def answer(self, message: bytes, _: object) -> bytes:
        async with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()
        await self.go_on.wait()
        return b"answer"

    async def arrived(self, count: int) -> None:
        async with asyncio.timeout(TIMEOUT_S), self._arrived:
            await self._arrived.wait_for(lambda: len(self.messages) >= count)

    def handlers(self, deserializer: Any = bytes) -> dict[str, Any]:
        return {"Detect": grpc.unary_unary_rpc_method_handler(self.answer, deserializer)}


@pytest.fixture
async def held() -> Holding:
    return Holding()


async def test_a_message_up_to_the_limit_is_taken_and_one_above_is_refused_with_its_size(
    start: Any,
    held: Holding,
) -> None:
    outer = Outer()
    client = await start([outer, limits()], INFER, held.handlers())
    held.go_on.set()
    assert (await client.finish(client.start("Detect", bytes(1000))))[1] is grpc.StatusCode.OK
    assert (await client.finish(client.start("Detect", bytes(1001))))[2] == "MESSAGE_TOO_LARGE"
    (error,) = outer.refused.errors
    assert isinstance(error, MessageTooLarge)
    assert error.metadata == {"sizeBytes": "1001", "maxBytes": "1000"}
    assert held.messages == [bytes(1000)]


async def test_calls_beyond_the_limit_are_refused_and_counted(start: Any, held: Holding) -> None:
    outer, inner = Outer(), limits(max_requests=2)
    client = await start([outer, inner], INFER, held.handlers())
    finishing = [asyncio.create_task(client.finish(client.start("Detect", b"x"))) for _ in range(2)]
    await held.arrived(2)
    assert (await client.finish(client.start("Detect", b"x")))[2] == "TOO_MANY_REQUESTS"
    assert inner.refused == 1
    assert isinstance(outer.refused.errors[0], TooManyRequests)
    held.go_on.set()
    assert [code for _, code, _ in await asyncio.gather(*finishing)] == [grpc.StatusCode.OK] * 2
    assert (await client.finish(client.start("Detect", b"x")))[1] is grpc.StatusCode.OK


async def test_a_message_that_was_read_holds_no_more_than_its_size(start: Any, held: Holding) -> None:
    # Room for 2 of the largest: were it kept, the third call would wait until the first ends.
    client = await start([Outer(), limits()], INFER, held.handlers())
    finishing = [asyncio.create_task(client.finish(client.start("Detect", bytes(100)))) for _ in range(8)]
    await held.arrived(8)
    held.go_on.set()
    assert [code for _, code, _ in await asyncio.gather(*finishing)] == [grpc.StatusCode.OK] * 8


async def test_a_call_waits_while_there_is_no_room_and_goes_on_when_there_is(start: Any, held: Holding) -> None:
    inner = limits(budget=ByteBudget(2500))
    client = await start([Outer(), inner], INFER, held.handlers())
    first = asyncio.create_task(client.finish(client.start("Detect", bytes(900))))
    await held.arrived(1)
    second = client.start("Detect", bytes(900), timeout=0.2)
    assert (await client.finish(second))[1] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(held.messages) == 1
    third = asyncio.create_task(client.finish(client.start("Detect", bytes(900))))
    held.go_on.set()
    assert (await first)[1] is grpc.StatusCode.OK
    assert (await third)[1] is grpc.StatusCode.OK


@pytest.mark.parametrize("end", ["ok", "raise", "cancel", "too large", "no message"])
async def test_everything_that_a_call_held_is_free_when_it_ends(start: Any, end: str) -> None:
    hanging, left = asyncio.Event(), asyncio.Event()

    async def answer(message: bytes, _: object) -> bytes:
        try:
            if message == b"raise":
                raise ValueError("broken")
            if message == b"cancel":
                hanging.set()
                await asyncio.sleep(TIMEOUT_S)
        finally:
            left.set()
        return b"answer"

    inner = limits(budget=ByteBudget(2000), max_requests=1)
    handlers = {"Detect": grpc.unary_unary_rpc_method_handler(answer, bytes)}
    client = await start([Outer(), inner], INFER, handlers)
    for _ in range(3):
        if end == "no message":
            stream = client.channel.stream_unary(f"/{INFER}/Detect")(iter(()))
            await client.finish(stream)
            continue
        message = bytes(1500) if end == "too large" else end.encode()
        call = client.start("Detect", message)
        if end == "cancel":
            finishing = asyncio.create_task(client.finish(call))
            await asyncio.wait_for(hanging.wait(), TIMEOUT_S)
            left.clear()
            call.cancel()
            await asyncio.wait_for(left.wait(), TIMEOUT_S)
            await turn()
            hanging.clear()
            await finishing
        else:
            await client.finish(call)
    assert inner.refused == 0
    assert inner._requests == 0
    assert inner._budget._free == 2000
    assert not inner._budget._waiting


async def test_a_call_without_a_message_is_an_invalid_request(start: Any, held: Holding) -> None:
    outer = Outer()
    client = await start([outer, limits()], INFER, held.handlers())
    _, _, details = await client.finish(client.channel.stream_unary(f"/{INFER}/Detect")(iter(())))
    assert details == "INVALID_REQUEST"
    assert "no request message" in outer.refused.errors[0].message


async def test_a_message_that_does_not_arrive_in_time_ends_the_call(start: Any, held: Holding) -> None:
    outer = Outer()
    client = await start([outer, limits(receive_timeout_s=0.1)], INFER, held.handlers())
    silent = client.channel.stream_unary(f"/{INFER}/Detect")()  # begins, and sends nothing
    await silent.wait_for_connection()
    _, _, details = await client.finish(silent)
    assert details == "RECEIVE_TIMEOUT"
    (error,) = outer.refused.errors
    assert isinstance(error, ReceiveTimeout)
    assert error.metadata == {"timeoutMs": "100"}


async def test_bytes_that_are_no_message_are_an_invalid_request_that_shows_nothing(start: Any, held: Holding) -> None:
    def deserialize(_: bytes) -> bytes:
        raise ValueError("secret")

    outer = Outer()
    client = await start([outer, limits()], INFER, held.handlers(deserialize))
    assert (await client.finish(client.start("Detect", b"12345")))[2] == "INVALID_REQUEST"
    (error,) = outer.refused.errors
    assert isinstance(error, InvalidRequest)
    assert error.message == "the 5 bytes are no message of this method"


async def test_a_call_that_finds_no_worker_in_time_is_refused_unread(start: Any, held: Holding) -> None:
    def check(_: object) -> None:
        raise QueueFull(3, 1.0)

    outer = Outer()
    client = await start([outer, limits(check=check)], INFER, held.handlers())
    assert (await client.finish(client.start("Detect", bytes(1500))))[2] == "QUEUE_FULL"  # not MESSAGE_TOO_LARGE
    assert not held.messages


async def test_calls_of_other_classes_are_not_limited(start: Any) -> None:
    inner = limits(max_requests=0)
    client = await start([inner])
    assert (await client.finish(client.start("UnaryUnary", bytes(5000))))[1] is grpc.StatusCode.OK
