"""Every call has an id, and how it ended is told once."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from detector_grpc.interceptors.calls import CallEnd, CallsInterceptor
from detector_grpc.serving.outcome import CURRENT_CALL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

TIMEOUT_S = 10


class Ends:
    """The ends of calls, to be waited for; tells nothing later."""

    def __init__(self) -> None:
        self.ends: list[CallEnd] = []
        self._queue: asyncio.Queue[CallEnd] = asyncio.Queue()

    def note(self, end: CallEnd) -> None:
        self.ends.append(end)
        self._queue.put_nowait(end)

    async def next(self) -> CallEnd:
        return await asyncio.wait_for(self._queue.get(), TIMEOUT_S)

    def interceptor(self) -> CallsInterceptor:
        def at_once(work: Callable[..., None], *arguments: object) -> None:
            work(*arguments)

        return CallsInterceptor(at_once, [self.note])  # type: ignore[arg-type]


@pytest.fixture
async def ends() -> Ends:
    return Ends()


async def trailing_id(call: Any) -> object:
    return dict(await call.trailing_metadata()).get("x-request-id")


@pytest.mark.parametrize("request_id", ["a", "0123-abc", "!~", "x" * 128])
async def test_the_callers_id_is_kept_and_sent_back(start: Any, ends: Ends, request_id: str) -> None:
    client = await start([ends.interceptor()])
    call = client.start("UnaryUnary", metadata=(("x-request-id", request_id),))
    await client.finish(call)
    assert await trailing_id(call) == request_id
    assert (await ends.next()).call.request_id == request_id


@pytest.mark.parametrize("request_id", [None, "", "with space", "x" * 129])
async def test_an_id_that_is_missing_or_unfit_for_a_log_is_replaced(
    start: Any,
    ends: Ends,
    request_id: str | None,
) -> None:
    client = await start([ends.interceptor()])
    metadata = () if request_id is None else (("x-request-id", request_id),)
    ids = set()
    for _ in range(2):
        call = client.start("UnaryUnary", metadata=metadata)
        await client.finish(call)
        made = await trailing_id(call)
        assert isinstance(made, str)
        assert re.fullmatch("[0-9a-f]{32}", made)
        assert (await ends.next()).call.request_id == made
        ids.add(made)
    assert len(ids) == 2


async def test_the_call_is_there_for_all_within(start: Any, ends: Ends) -> None:
    async def answer(_: bytes, __: object) -> bytes:
        call = CURRENT_CALL.get()
        call.caller, call.model, call.version = "ann", "yolo", "v1"
        return f"{call.method} {call.request_id}".encode()

    handlers = {"Name": grpc.unary_unary_rpc_method_handler(answer)}
    client = await start([ends.interceptor()], handlers=handlers)
    answers, _, _ = await client.finish(client.start("Name", metadata=(("x-request-id", "id-1"),)))
    assert answers == [b"/test.Service/Name id-1"]
    end = await ends.next()
    assert (end.call.caller, end.call.model, end.call.version) == ("ann", "yolo", "v1")
    assert end.code is grpc.StatusCode.OK
    assert 0 < end.duration_s < TIMEOUT_S
    assert abs(end.ended_at - time.time()) < TIMEOUT_S


@pytest.mark.parametrize(("message", "code"), [(b"ok", "OK"), (b"abort", "NOT_FOUND")])
@pytest.mark.parametrize("method", ["UnaryUnary", "StreamUnary", "UnaryStream", "StreamWrite"])
async def test_every_observer_is_told_once_how_the_call_ended(
    start: Any,
    ends: Ends,
    method: str,
    message: bytes,
    code: str,
) -> None:
    client = await start([ends.interceptor()])
    await client.finish(client.start(method, message))
    end = await ends.next()
    assert (end.call.method, end.code.name) == (f"/test.Service/{method}", code)
    assert len(ends.ends) == 1


@pytest.mark.parametrize("method", ["UnaryUnary", "UnaryStream", "UnaryWrite"])
async def test_a_deadline_is_told_from_a_caller_that_left(start: Any, service: Any, ends: Ends, method: str) -> None:
    client = await start([ends.interceptor()])
    await client.finish(client.start(method, b"hang", timeout=0.2))
    assert (await ends.next()).code.name == "DEADLINE_EXCEEDED"
    service.hanging.clear()
    call = client.start(method, b"hang", timeout=100)
    finishing = asyncio.create_task(client.finish(call))
    await asyncio.wait_for(service.hanging.wait(), TIMEOUT_S)
    call.cancel()
    assert (await ends.next()).code.name == "CANCELLED"
    await finishing


async def test_a_caller_that_leaves_between_two_answers_is_not_told_as_a_success(start: Any, ends: Ends) -> None:
    async def flood(_: bytes, __: object) -> AsyncIterator[bytes]:
        while True:
            yield bytes(1_000_000)

    handlers = {"UnaryStream": grpc.unary_stream_rpc_method_handler(flood)}
    client = await start([ends.interceptor()], handlers=handlers)
    call = client.start("UnaryStream")
    await call.read()
    call.cancel()
    assert (await ends.next()).code is grpc.StatusCode.CANCELLED
