"""A server of one service with every arity and both styles of handlers, whose messages are bytes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "test.Service"
HANG_S = 20
STOP_S = 1


class Service:
    """What a call does is in its message: `ok`, `abort`, `raise`, `hang`, or `raise` with what `error` makes."""

    def __init__(self) -> None:
        self.error: Callable[[], BaseException] = lambda: ValueError("broken")
        self.hanging = asyncio.Event()
        self.seen: list[bytes] = []

    async def act(self, message: bytes, context: Context) -> bytes:
        self.seen.append(message)
        if message == b"abort":
            await context.abort(grpc.StatusCode.NOT_FOUND, "aborted on purpose")
        if message == b"raise":
            raise self.error()
        if message == b"hang":
            self.hanging.set()
            await asyncio.sleep(HANG_S)
        return b"answer to " + message

    async def unary_unary(self, message: bytes, context: Context) -> bytes:
        return await self.act(message, context)

    async def stream_unary(self, messages: AsyncIterator[bytes], context: Context) -> bytes:
        return b",".join([await self.act(message, context) async for message in messages])

    async def unary_stream(self, message: bytes, context: Context) -> AsyncIterator[bytes]:
        yield b"first"
        yield await self.act(message, context)

    async def unary_write(self, message: bytes, context: Context) -> None:
        await context.write(b"first")
        await context.write(await self.act(message, context))

    async def stream_stream(self, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        yield b"first"
        async for message in messages:
            yield await self.act(message, context)

    async def stream_write(self, _: object, context: Context) -> None:
        await context.write(b"first")
        while (message := await context.read()) is not grpc.aio.EOF:
            await context.write(await self.act(message, context))

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        return {
            "UnaryUnary": grpc.unary_unary_rpc_method_handler(self.unary_unary),
            "StreamUnary": grpc.stream_unary_rpc_method_handler(self.stream_unary),
            "UnaryStream": grpc.unary_stream_rpc_method_handler(self.unary_stream),
            "UnaryWrite": grpc.unary_stream_rpc_method_handler(self.unary_write),
            "StreamStream": grpc.stream_stream_rpc_method_handler(self.stream_stream),
            "StreamWrite": grpc.stream_stream_rpc_method_handler(self.stream_write),
        }


class Client:
    """Calls methods by name, whatever their arity."""

    def __init__(self, channel: grpc.aio.Channel, service: str) -> None:
        self.channel = channel
        self._service = service

    def start(self, method: str, message: bytes = b"ok", **kwargs: Any) -> Any:
        path = f"/{self._service}/{method}"
        kind = {
            "UnaryUnary": self.channel.unary_unary,
            "StreamUnary": self.channel.stream_unary,
            "UnaryStream": self.channel.unary_stream,
            "UnaryWrite": self.channel.unary_stream,
            "StreamStream": self.channel.stream_stream,
            "StreamWrite": self.channel.stream_stream,
        }.get(method, self.channel.unary_unary)

        async def messages() -> AsyncIterator[bytes]:
            yield message

        return kind(path)(messages() if method.startswith("Stream") else message, **kwargs)

    async def finish(self, call: Any) -> tuple[list[bytes], grpc.StatusCode, str]:
        """Answers, code and details."""
        answers: list[bytes] = []
        try:
            if hasattr(call, "__aiter__"):
                async for answer in call:
                    answers.append(answer)  # noqa: PERF401 - what came before an error counts
            else:
                answers.append(await call)
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            pass
        return answers, await call.code(), await call.details()


Start = Any


@pytest.fixture
async def service() -> Service:
    return Service()


@pytest.fixture
async def start(service: Service) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """Starts a server with interceptors and gives a client of it."""
    async with AsyncExitStack() as stack:

        async def start(
            interceptors: Sequence[grpc.aio.ServerInterceptor],
            name: str = SERVICE,
            handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] | None = None,
        ) -> Client:
            server = grpc.aio.server(interceptors=list(interceptors))
            server.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler(name, handlers or service.handlers())]
            )
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            stack.push_async_callback(server.stop, STOP_S)  # lets handlers end before the loop does
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
            return Client(channel, name)

        yield start
