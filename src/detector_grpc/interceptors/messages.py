"""Reads the messages of calls, after it is known who calls, and says what is wrong with one.

gRPC itself would read the message of a unary call before any interceptor is asked, as large as the largest picture, and
answer one that is none in its own words, with a traceback in the log.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from detector_grpc.errors import InvalidRequest, MessageTooLarge, ReceiveTimeout, Violation
from detector_grpc.interceptors.around import handler_function

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Any

    from detector_grpc.interceptors.around import Context, Details, Handler

    Deserializer = Callable[[bytes], Any]

# What calls that detect nothing have to say are a few names.
MAX_NAMES_BYTES = 4096


class MessagesInterceptor(grpc.aio.ServerInterceptor):
    """Reads what no interceptor further inside reads itself: the messages of calls that detect nothing.

    Handlers of unary requests must be coroutines, those of streams of requests asynchronous generators.

    Args:
        timeout_s: Seconds that the message of a unary request may take to arrive.
        max_bytes: Largest message.
    """

    def __init__(self, timeout_s: float, max_bytes: int = MAX_NAMES_BYTES) -> None:
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes

    async def intercept_service(
        self, continuation: Callable[[Details], Awaitable[Handler | None]], handler_call_details: Details
    ) -> Handler | None:
        """See grpc.aio.ServerInterceptor."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_deserializer is None:
            return handler
        return self._reading_each(handler) if handler.request_streaming else self._reading(handler)

    def _reading(self, handler: Handler) -> Handler:
        """The same method as gRPC sees it when the handler itself reads the message: streaming, raw bytes."""
        behaviour, deserialize = handler_function(handler), handler.request_deserializer

        async def run(_: object, context: Context) -> object:
            data = await receive(context, self._max_bytes, self._timeout_s)
            return await behaviour(parsed(deserialize, data), context)

        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(run, None, handler.response_serializer)
        return grpc.stream_unary_rpc_method_handler(run, None, handler.response_serializer)

    @staticmethod
    def _reading_each(handler: Handler) -> Handler:
        behaviour, deserialize = handler_function(handler), handler.request_deserializer

        async def requests(context: Context) -> AsyncIterator[object]:
            async for data in messages(context):
                yield parsed(deserialize, checked(data, MAX_NAMES_BYTES))

        async def run(_: object, context: Context) -> AsyncIterator[object]:
            async for response in behaviour(requests(context), context):
                yield response

        return grpc.stream_stream_rpc_method_handler(run, None, handler.response_serializer)


async def receive(context: Context, max_bytes: int, timeout_s: float) -> bytes:
    """The one message of a call, as it came.

    Raises:
        ReceiveTimeout: It does not arrive in time.
        InvalidRequest: There is none.
        MessageTooLarge: It has more bytes.
    """
    try:
        async with asyncio.timeout(timeout_s):
            data = await context.read()
    except TimeoutError:
        raise ReceiveTimeout(timeout_s) from None
    if not isinstance(data, bytes):  # the caller closed its side without a message
        raise InvalidRequest([Violation("", "the call has no request message")])
    return checked(data, max_bytes)


async def messages(context: Context) -> AsyncIterator[bytes]:
    """The messages of a stream, as they came."""
    while isinstance(data := await context.read(), bytes):  # else the caller closed its side
        yield data


def checked(data: bytes, max_bytes: int) -> bytes:
    """A message that is not too large.

    Raises:
        MessageTooLarge: It is.
    """
    if len(data) > max_bytes:
        raise MessageTooLarge(len(data), max_bytes)
    return data


def parsed(deserialize: Deserializer | None, data: bytes) -> Any:  # noqa: ANN401
    """A message as its handler takes it.

    Raises:
        InvalidRequest: The bytes are none.
    """
    try:
        return data if deserialize is None else deserialize(data)
    except Exception:  # noqa: BLE001 - protobuf's own class is no part of its public interface
        raise InvalidRequest.of_no_message(len(data)) from None
