"""The SDK's detector in both flavours, with the methods of the asyncio one."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, Self

from detector_grpc.client import AsyncDetector, Detector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from detector_grpc.client import StreamAnswers

Flavour = Literal["blocking", "asyncio"]

_END = object()


@asynccontextmanager
async def opened(flavour: Flavour, *args: str, **options: Any) -> AsyncIterator[Any]:
    """A detector, made with these arguments."""
    if flavour == "asyncio":
        async with AsyncDetector(*args, **options) as detector:
            yield detector
    else:
        with Detector(*args, **options) as detector:
            yield _Awaitable(detector)


class _Awaitable:
    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        async def call(*args: object, **options: object) -> object:
            return await asyncio.to_thread(getattr(self._detector, name), *args, **options)

        return call

    @asynccontextmanager
    async def stream(self, *args: Any, **options: Any) -> AsyncIterator[_AwaitableAnswers]:
        context = self._detector.stream(*args, **options)
        answers = await asyncio.to_thread(context.__enter__)
        try:
            yield _AwaitableAnswers(answers)
        finally:
            await asyncio.to_thread(context.__exit__, None, None, None)


class _AwaitableAnswers:
    def __init__(self, answers: StreamAnswers[Any]) -> None:
        self._answers = answers

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if (answer := await asyncio.to_thread(next, self._answers, _END)) is _END:
            raise StopAsyncIteration
        return answer

    @property
    def ready(self) -> object:
        return self._answers.ready

    async def update(self, **options: Any) -> object:
        return await asyncio.to_thread(self._answers.update, **options)
