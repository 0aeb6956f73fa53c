"""The base of interceptors that do something around a call, whatever its arity and the style of its handler."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]
    Details = grpc.HandlerCallDetails
    Behaviour = Callable[[Any, Context], Any]


class AroundInterceptor(grpc.aio.ServerInterceptor, ABC):
    """Runs every call inside a context manager.

    A handler is wrapped once per method, not once per call.
    """

    def __init__(self) -> None:
        self._wrapped: dict[str, Handler] = {}

    @abstractmethod
    def around(self, method: str, context: Context) -> AbstractAsyncContextManager[None]:
        """What happens around one call.

        Args:
            method: Full name, e.g. "/detector.v1.DetectorService/Detect".
            context: The call.
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
        run = self._streaming(method, behaviour) if handler.response_streaming else self._unary(method, behaviour)
        make = getattr(grpc, f"{_arity(handler)}_rpc_method_handler")
        wrapped: Handler = make(run, handler.request_deserializer, handler.response_serializer)
        return wrapped

    def _unary(self, method: str, behaviour: Behaviour) -> Behaviour:
        async def run(request: object, context: Context) -> object:
            async with self.around(method, context):
                return await behaviour(request, context)

        return run

    def _streaming(self, method: str, behaviour: Behaviour) -> Behaviour:
        if inspect.isasyncgenfunction(behaviour):

            async def generate(request: object, context: Context) -> AsyncIterator[object]:
                async with self.around(method, context):
                    async for response in behaviour(request, context):
                        yield response

            return generate

        return self._unary(method, behaviour)  # a handler that calls context.write itself


def handler_function(handler: Handler) -> Behaviour:
    """The function of a handler: the attribute that is named after its arity."""
    function: Behaviour = getattr(handler, _arity(handler))
    return function


def _arity(handler: Handler) -> str:
    request = "stream" if handler.request_streaming else "unary"
    response = "stream" if handler.response_streaming else "unary"
    return f"{request}_{response}"
