"""The base of interceptors that do something around a call, whatever its arity and the style of its handler."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]
    Details = grpc.HandlerCallDetails
    Behaviour = Callable[[Any, Context], Any]
    Answer = Callable[[], Awaitable[object]]


class AroundInterceptor(grpc.aio.ServerInterceptor, ABC):
    """Runs every call inside a coroutine.

    A handler is wrapped once per method, not once per call.
    """

    def __init__(self) -> None:
        self._wrapped: dict[str, Handler] = {}

    @abstractmethod
    async def around(self, method: str, context: Context, answer: Answer) -> object:
        """Answers one call.

        Args:
            method: Full name, e.g. "/detector.v1.DetectorService/Detect".
            context: The call.
            answer: Has what lies within answer it; what this returns or raises is to be returned or raised.
        """

    async def intercept_service(
        self, continuation: Callable[[Details], Awaitable[Handler | None]], handler_call_details: Details
    ) -> Handler | None:
        """See grpc.aio.ServerInterceptor."""
        method = str(handler_call_details.method)
        wrapped = self._wrapped.get(method)
        if wrapped is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None:  # a method that nobody serves; not remembered, or callers could fill the memory with names
            return None
        self._wrapped[method] = wrapped = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Handler) -> Handler:
        behaviour = handler_function(handler)
        if inspect.isasyncgenfunction(behaviour):
            behaviour = _writing(behaviour)

        async def run(request: object, context: Context) -> object:
            return await self.around(method, context, partial(behaviour, request, context))

        make = getattr(grpc, f"{_arity(handler)}_rpc_method_handler")
        wrapped: Handler = make(run, handler.request_deserializer, handler.response_serializer)
        return wrapped


def _writing(generate: Behaviour) -> Behaviour:
    """A handler that writes its answers itself, as every other one of streams does, of one that yields them."""

    async def write(request: object, context: Context) -> None:
        async with aclosing(generate(request, context)) as responses:
            async for response in responses:
                try:
                    await context.write(response)
                except grpc.aio.InternalError:  # the call is over; its handler is told in the next moment, too
                    raise asyncio.CancelledError from None

    return write


def handler_function(handler: Handler) -> Behaviour:
    """The function of a handler: the attribute that is named after its arity."""
    function: Behaviour = getattr(handler, _arity(handler))
    return function


def _arity(handler: Handler) -> str:
    request = "stream" if handler.request_streaming else "unary"
    response = "stream" if handler.response_streaming else "unary"
    return f"{request}_{response}"
