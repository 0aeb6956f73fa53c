"""Bounds what all calls of a process together may hold, before their messages are read.

A message of gRPC does not say its size until it is there. So a call of class "infer" first reserves room for the
largest message; while there is none it waits, and HTTP/2 flow control keeps its bytes at the sender. Once the message
is read, the reservation shrinks to its real size, and the rest is free for the next call. Calls beyond a fixed number,
and those that would be late or find their queue full, are refused without reading them at all.

A stream waits for messages most of its time, for which nothing can be reserved. So streams have a number of their own,
each may have one message arriving, and what is kept of it is the business of the stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import grpc.aio

from detector_grpc.errors import TooManyRequests, TooManyStreams
from detector_grpc.interceptors.around import handler_function
from detector_grpc.interceptors.messages import messages, parsed, receive
from detector_grpc.interceptors.rpc_classes import rpc_class

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from detector_grpc.interceptors.around import Behaviour, Context, Details, Handler
    from detector_grpc.serving.budget import ByteBudget


class LimitsInterceptor(grpc.aio.ServerInterceptor):
    """The innermost interceptor: admits a call, then reads its message.

    Args:
        max_message_bytes: Largest message.
        max_wire_bytes: Largest message that gRPC lets through, so that its real size can be told.
        budget: Bytes of messages that may be held at once.
        max_requests: Most calls at once, those that wait included, without streams.
        max_streams: Most streams at once.
        check: Refuses a call, by raising, that there is no worker for in time; not asked about streams.
        receive_timeout_s: Seconds that a message may take to arrive.

    Attributes:
        refused: Number of calls that were not admitted, without streams.
        refused_streams: Number of streams that were not admitted.
        streams: Number of streams that are open.
    """

    def __init__(
        self,
        max_message_bytes: int,
        max_wire_bytes: int,
        budget: ByteBudget,
        max_requests: int,
        max_streams: int,
        check: Callable[[Context], None],
        receive_timeout_s: float,
    ) -> None:
        self._max_message_bytes = max_message_bytes
        self._max_wire_bytes = max_wire_bytes
        self._budget = budget
        self._max_requests = max_requests
        self._check = check
        self._receive_timeout_s = receive_timeout_s
        self._requests = 0
        self._max_streams = max_streams
        self.streams = 0
        self.refused_streams = 0
        self.refused = 0

    async def intercept_service(
        self, continuation: Callable[[Details], Awaitable[Handler | None]], handler_call_details: Details
    ) -> Handler | None:
        """See grpc.aio.ServerInterceptor."""
        handler = await continuation(handler_call_details)
        if handler is None or rpc_class(str(handler_call_details.method)) != "infer":
            return handler
        return self._admitting_stream(handler) if handler.stream_stream is not None else self._admitting(handler)

    def _admitting(self, handler: Handler) -> Handler:
        """The same method as gRPC sees it when the handler itself reads the message: streaming, raw bytes."""
        behaviour, deserialize = handler_function(handler), handler.request_deserializer

        async def run(_: object, context: Context) -> object:
            if self._requests >= self._max_requests:
                self.refused += 1
                raise TooManyRequests(self._max_requests)
            self._check(context)
            self._requests += 1
            reserved = self._max_wire_bytes
            try:
                await self._budget.reserve(reserved)
            except BaseException:
                self._requests -= 1
                raise
            try:
                data = await receive(context, self._max_message_bytes, self._receive_timeout_s)
                self._budget.release(reserved - len(data))
                reserved = len(data)
                answer = self._start(behaviour, deserialize, data, context)
                del data  # the message has its own copy
                return await answer
            finally:
                self._budget.release(reserved)
                self._requests -= 1

        return grpc.stream_unary_rpc_method_handler(run, None, handler.response_serializer)

    def _admitting_stream(self, handler: Handler) -> Handler:
        """The same method, given its messages as they came: what is too large is not worth parsing."""
        behaviour = handler_function(handler)

        async def run(_: object, context: Context) -> None:
            if self.streams >= self._max_streams:
                self.refused_streams += 1
                raise TooManyStreams(self._max_streams)
            self.streams += 1
            try:
                await behaviour(messages(context), context)
            finally:
                self.streams -= 1

        return grpc.stream_stream_rpc_method_handler(run, None, handler.response_serializer)

    @staticmethod
    def _start(behaviour: Behaviour, deserialize: Any, data: bytes, context: Context) -> Awaitable[object]:  # noqa: ANN401
        answer: Awaitable[object] = behaviour(parsed(deserialize, data), context)
        return answer
