"""Whatever the arity, the style of the handler and the end of the call: entered once, left once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from detector_grpc.interceptors.around import AroundInterceptor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

METHODS = ["UnaryUnary", "StreamUnary", "UnaryStream", "UnaryWrite", "StreamStream", "StreamWrite"]
ARITIES = {
    "UnaryUnary": "unary_unary",
    "StreamUnary": "stream_unary",
    "UnaryStream": "unary_stream",
    "UnaryWrite": "unary_stream",
    "StreamStream": "stream_stream",
    "StreamWrite": "stream_stream",
}
TIMEOUT_S = 10

every_method = pytest.mark.parametrize("method", METHODS)


class Recorder(AroundInterceptor):
    """Notes how each call begins and ends."""

    def __init__(self, name: str = "", log: list[str] | None = None) -> None:
        super().__init__()
        self.name = name
        self.log = log if log is not None else []
        self.errors: list[BaseException | None] = []
        self.codes: list[grpc.StatusCode | None] = []
        self.left = asyncio.Event()

    async def around(self, method: str, context: Any, answer: Any) -> object:
        self.log.append(f"{self.name}enter {method}")
        error: BaseException | None = None
        try:
            return await answer()
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.log.append(f"{self.name}leave {method}")
            self.errors.append(error)
            self.codes.append(context.code())
            self.left.set()

    async def ended(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await self.left.wait()


def answers_of(method: str) -> list[bytes]:
    return [b"answer to ok"] if method in ("UnaryUnary", "StreamUnary") else [b"first", b"answer to ok"]


@every_method
async def test_a_call_that_succeeds_is_entered_and_left_once_and_answered_in_full(start: Any, method: str) -> None:
    recorder = Recorder()
    client = await start([recorder])
    answers, code, _ = await client.finish(client.start(method))
    await recorder.ended()
    assert (answers, code) == (answers_of(method), grpc.StatusCode.OK)
    assert recorder.log == [f"enter /test.Service/{method}", f"leave /test.Service/{method}"]
    assert recorder.errors == [None]


@every_method
async def test_an_abort_passes_with_its_status(start: Any, method: str) -> None:
    recorder = Recorder()
    client = await start([recorder])
    answers, code, details = await client.finish(client.start(method, b"abort"))
    await recorder.ended()
    assert answers == answers_of(method)[:-1]
    assert (code, details) == (grpc.StatusCode.NOT_FOUND, "aborted on purpose")
    assert [type(error) for error in recorder.errors] == [grpc.aio.AbortError]
    assert recorder.codes == [grpc.StatusCode.NOT_FOUND]


@every_method
async def test_an_exception_passes_unchanged(start: Any, service: Any, method: str) -> None:
    error = LookupError("broken")
    service.error = lambda: error
    recorder = Recorder()
    client = await start([recorder])
    _, code, _ = await client.finish(client.start(method, b"raise"))
    await recorder.ended()
    assert code is grpc.StatusCode.UNKNOWN
    assert recorder.errors == [error]


@every_method
async def test_a_caller_that_leaves_ends_the_call_as_cancelled(start: Any, service: Any, method: str) -> None:
    recorder = Recorder()
    client = await start([recorder])
    call = client.start(method, b"hang")
    finishing = asyncio.create_task(client.finish(call))
    async with asyncio.timeout(TIMEOUT_S):
        await service.hanging.wait()
    call.cancel()
    await recorder.ended()
    _, code, _ = await finishing
    assert code is grpc.StatusCode.CANCELLED
    assert [type(error) for error in recorder.errors] == [asyncio.CancelledError]


@every_method
async def test_a_deadline_ends_the_call_as_cancelled(start: Any, method: str) -> None:
    recorder = Recorder()
    client = await start([recorder])
    _, code, _ = await client.finish(client.start(method, b"hang", timeout=0.2))
    await recorder.ended()
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert [type(error) for error in recorder.errors] == [asyncio.CancelledError]


@every_method
async def test_interceptors_lie_within_each_other_in_their_order(start: Any, method: str) -> None:
    log: list[str] = []
    outer, inner = Recorder("outer ", log), Recorder("inner ", log)
    client = await start([outer, inner])
    await client.finish(client.start(method))
    await outer.ended()
    name = f"/test.Service/{method}"
    assert log == [f"outer enter {name}", f"inner enter {name}", f"inner leave {name}", f"outer leave {name}"]


@every_method
async def test_calls_of_a_method_do_not_share_their_context(start: Any, method: str) -> None:
    recorder = Recorder()
    client = await start([recorder])
    results = await asyncio.gather(*(client.finish(client.start(method)) for _ in range(20)))
    assert [answers for answers, _, _ in results] == [answers_of(method)] * 20
    assert recorder.log.count(f"enter /test.Service/{method}") == 20


async def test_what_is_raised_on_entering_ends_the_call_before_the_handler(start: Any, service: Any) -> None:
    class Refusing(AroundInterceptor):
        async def around(self, method: str, context: Any, answer: Any) -> object:  # noqa: ARG002
            return await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")

    client = await start([Refusing()])
    for method in METHODS:
        answers, code, _ = await client.finish(client.start(method))
        assert (answers, code) == ([], grpc.StatusCode.PERMISSION_DENIED)
    assert service.seen == []


async def test_a_method_that_nobody_serves_is_unimplemented_and_not_remembered(start: Any) -> None:
    recorder = Recorder()
    client = await start([recorder])
    for number in range(3):
        _, code, _ = await client.finish(client.start(f"Nothing{number}"))
        assert code is grpc.StatusCode.UNIMPLEMENTED
    assert recorder.log == []
    assert recorder._wrapped == {}


async def test_a_handler_is_wrapped_once_per_method(service: Any) -> None:
    recorder = Recorder()
    handlers = service.handlers()
    asked: list[str] = []

    class Details:
        def __init__(self, method: str) -> None:
            self.method = method

    async def continuation(details: Details) -> Any:
        asked.append(details.method)
        return handlers[details.method]

    for method in METHODS * 2:
        first = await recorder.intercept_service(continuation, Details(method))  # type: ignore[arg-type]
        assert first is await recorder.intercept_service(continuation, Details(method))  # type: ignore[arg-type]
        arity = ARITIES[method]
        assert getattr(first, arity) is not None
        assert (first.request_streaming, first.response_streaming) == (
            arity.startswith("stream"),
            arity.endswith("stream"),
        )
    assert asked == METHODS


async def test_serializers_stay_those_of_the_handler(start: Any) -> None:
    async def double(number: int, _: object) -> int:
        return 2 * number

    handler = grpc.unary_unary_rpc_method_handler(double, int, lambda number: str(number).encode())
    client = await start([Recorder()], handlers={"Double": handler})
    answers, code, _ = await client.finish(client.start("Double", b"21"))
    assert (answers, code) == ([b"42"], grpc.StatusCode.OK)


async def test_a_caller_that_leaves_between_two_answers_ends_the_call_at_once(start: Any) -> None:
    # The handler hangs where it yields: flow control holds its answer back, and it is the server that is cancelled.
    recorder = Recorder()
    sent, closed = 0, False

    async def flood(_: bytes, __: object) -> AsyncIterator[bytes]:
        nonlocal sent, closed
        try:
            while True:
                sent += 1
                yield bytes(1_000_000)
        finally:
            closed = True

    client = await start([recorder], handlers={"UnaryStream": grpc.unary_stream_rpc_method_handler(flood)})
    call = client.start("UnaryStream")
    await call.read()
    call.cancel()
    await recorder.ended()
    assert sent > 0
    assert closed
    assert len(recorder.errors) == 1
    assert isinstance(recorder.errors[0], asyncio.CancelledError)
