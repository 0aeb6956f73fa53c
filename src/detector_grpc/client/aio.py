"""The asyncio detector: the blocking one, method by method."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import grpc

from detector_grpc.client.calls import AnswerT, Call, Calls, ResultT, call_timeout_s
from detector_grpc.client.errors import CallFailed
from detector_grpc.client.stream.aio import AsyncStreamAnswers
from detector_grpc.client.stream.encoder import Encoder
from detector_grpc.rpc import transport
from detector_grpc.vision.encode import JPEG_QUALITY

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable
    from types import TracebackType
    from typing import Self, Unpack

    from detector_grpc.client.models import ModelVersion
    from detector_grpc.client.options import DetectOptions
    from detector_grpc.client.pictures import Color, Picture
    from detector_grpc.client.results import DetectionResult
    from detector_grpc.client.stream.values import FrameT, Mode, Tracking


class AsyncDetector:
    """As Detector, for asyncio: made and used inside one running loop, by any number of tasks."""

    def __init__(
        self,
        target: str,
        model: str = "",
        version: str = "",
        *,
        token: str | None = None,
        tls: transport.TlsFiles | None = None,
        timeout_s: float | None = 30.0,
    ) -> None:
        """As Detector."""
        self._calls = Calls(model, version, token)
        self._timeout_s = call_timeout_s(timeout_s)
        self._channel = transport.aio_channel(target, tls)
        self._open_channel = partial(transport.aio_channel, target, tls, own_connection=True)
        self._input_wh: tuple[int, int] | None = None
        self._input_wh_lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """As Detector.close."""
        await self._channel.close()

    async def detect(
        self,
        picture: Picture,
        *,
        downscale: bool = False,
        color: Color = "RGB",
        request_id: str | None = None,
        stream_id: str = "",
        **options: Unpack[DetectOptions],
    ) -> DetectionResult:
        """As Detector.detect; the picture is read and scaled down in a thread."""
        input_wh = await self._model_input_wh() if downscale else None
        calls = self._calls.of_stream(stream_id)
        return await self._make(await asyncio.to_thread(calls.detect, picture, color, input_wh, request_id, options))

    @asynccontextmanager
    async def stream(
        self,
        frames: AsyncIterable[FrameT] | Iterable[FrameT],
        *,
        mode: Mode = "latest",
        max_frame_age_s: float | None = None,
        tracking: Tracking | None = None,
        downscale: bool = False,
        color: Color = "RGB",
        jpeg_quality: int | None = JPEG_QUALITY,
        reconnect_timeout_s: float = 30.0,
        stream_id: str = "",
        **options: Unpack[DetectOptions],
    ) -> AsyncIterator[AsyncStreamAnswers[FrameT]]:
        """As Detector.stream; `frames` may be asynchronous, and is read in a thread where it is not."""
        encoder = Encoder(color, jpeg_quality)
        protocol = self._calls.stream(frames, mode, max_frame_age_s, tracking, reconnect_timeout_s, options)
        answers = AsyncStreamAnswers(frames, protocol, encoder, self._calls.of_stream(stream_id), self._open_channel)
        try:
            ready = await answers.open()
            if downscale:
                encoder.input_wh = await self._make(self._calls.pinned(ready.model, ready.version).model_input_wh())
            answers.begin()
            yield answers
        finally:
            await answers.close()

    async def models(self) -> list[ModelVersion]:
        """As Detector.models."""
        return await self._make(self._calls.models())

    async def health(self, service: str = "") -> str:
        """As Detector.health."""
        return await self._make(self._calls.health(service))

    async def watch_health(self, service: str = "") -> AsyncIterator[str]:
        """As Detector.watch_health."""
        call = self._calls.health(service, watch=True)
        method = self._channel.unary_stream(call.method, type(call.request).SerializeToString, call.answer.FromString)
        answers = method(call.request, metadata=call.metadata)
        try:
            async for answer in answers:
                yield call.read(answer)
        except grpc.RpcError as error:
            raise CallFailed.of(error) from error
        finally:
            answers.cancel()

    async def _model_input_wh(self) -> tuple[int, int] | None:
        async with self._input_wh_lock:
            if self._input_wh is None:
                self._input_wh = await self._make(self._calls.model_input_wh())
            return self._input_wh

    async def _make(self, call: Call[AnswerT, ResultT]) -> ResultT:
        return await make(self._channel, call, self._timeout_s)


async def make(channel: grpc.aio.Channel, call: Call[AnswerT, ResultT], timeout_s: float | None) -> ResultT:
    """Makes one call.

    Raises:
        CallFailed: The call failed.
    """
    method = channel.unary_unary(call.method, type(call.request).SerializeToString, call.answer.FromString)
    try:
        return call.read(await method(call.request, timeout=timeout_s, metadata=call.metadata))
    except grpc.RpcError as error:
        raise CallFailed.of(error) from error
