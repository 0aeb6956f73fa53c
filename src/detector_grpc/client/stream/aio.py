"""The asyncio stream: tasks around the protocol.

One makes the calls, one after the other, and reads what is answered; beside each call one sends; one reads the source.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Generic

import grpc

from detector_grpc._gen.detector.v1 import stream_pb2
from detector_grpc.client.calls import STREAM_DETECT
from detector_grpc.client.errors import CallFailed
from detector_grpc.client.stream.off_loop import OffLoop
from detector_grpc.client.stream.protocol import Encode, HalfClose, Send
from detector_grpc.client.stream.values import SOURCE_PATIENCE_S, FrameT, StreamAnswer, StreamReady

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from typing import Self, TypeAlias, Unpack

    from google.protobuf.message import Message

    from detector_grpc.client.calls import Calls
    from detector_grpc.client.options import DetectOptions
    from detector_grpc.client.stream.encoder import Encoder
    from detector_grpc.client.stream.ledger import Entry
    from detector_grpc.client.stream.protocol import Step, StreamProtocol

    _Call: TypeAlias = grpc.aio.StreamStreamCall[Message, stream_pb2.StreamDetectResponse]

_LOOK_S = 0.1


class AsyncStreamAnswers(Generic[FrameT]):
    """As StreamAnswers, for asyncio. Made by AsyncDetector.stream."""

    def __init__(
        self,
        frames: AsyncIterable[FrameT] | Iterable[FrameT],
        protocol: StreamProtocol[FrameT],
        encoder: Encoder,
        calls: Calls,
        open_channel: Callable[[], grpc.aio.Channel],
    ) -> None:
        self._frames = frames
        self._protocol = protocol
        self._encoder = encoder
        self._open_channel = open_channel
        self._calls = calls
        self._changed = asyncio.Event()
        self._closed = False
        self._tasks: list[asyncio.Task[None]] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamAnswer[FrameT]:
        while self._closed or (answer := self._protocol.read()) is None:
            if self._over:
                raise StopAsyncIteration if self._protocol.failure is None else self._protocol.failure
            await self._changed.wait()
        self._notify()  # there is room for another frame
        return answer

    @property
    def ready(self) -> StreamReady:
        """As StreamAnswers.ready."""
        if self._protocol.ready is None:
            raise RuntimeError("no server has taken the stream on yet")
        return self._protocol.ready

    async def update(self, **options: Unpack[DetectOptions]) -> DetectOptions:
        """As StreamAnswers.update."""
        update = self._protocol.update(options)
        self._notify()
        await self._wait_for(lambda: update.done or self._over)
        if (failure := update.refusal or self._protocol.failure) is not None:
            raise failure
        return self.ready.options

    async def open(self) -> StreamReady:
        """As StreamAnswers.open."""
        self._tasks.append(asyncio.create_task(self._make_calls()))
        await self._wait_for(lambda: self._protocol.ready is not None or self._over)
        if self._protocol.failure is not None:
            raise self._protocol.failure
        return self.ready

    def begin(self) -> None:
        """As StreamAnswers.begin."""
        self._tasks.append(asyncio.create_task(self._read_source()))

    async def close(self) -> None:
        """As StreamAnswers.close."""
        self._closed = True
        self._notify()
        tasks, self._tasks = self._tasks, []  # or their tracebacks would keep the last connection open
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._frames = ()  # a generator that nobody else holds ends with this, and releases its camera

    @property
    def _over(self) -> bool:
        return self._closed or self._protocol.over

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait_for(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    async def _make_calls(self) -> None:
        try:
            while not self._protocol.over:
                await asyncio.sleep(self._protocol.connect_at - time.monotonic())
                async with self._open_channel() as channel:
                    failure = await self._make_call(channel)
                self._protocol.end_call(failure, time.monotonic())
                self._notify()
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller waits for it
            self._protocol.finish(error)
            self._notify()

    async def _make_call(self, channel: grpc.aio.Channel) -> CallFailed | None:
        """Makes a call, and reads until it has ended or its server is lost; returns how it failed."""
        method = channel.stream_stream(
            STREAM_DETECT,
            stream_pb2.StreamDetectRequest.SerializeToString,
            stream_pb2.StreamDetectResponse.FromString,
        )
        first = self._protocol.connect(time.monotonic())
        call = method(metadata=self._calls.pinned(*self._protocol.model_version).metadata())
        sender = asyncio.create_task(self._send(call, first))
        # Not `call.read`, which says that nothing more comes as soon as the call has ended, whatever has come before.
        answers = aiter(call)
        try:
            while (message := await self._answer(answers)) is not None:
                self._protocol.receive(message, time.monotonic())
                self._notify()
        except TimeoutError:
            return self._protocol.silence(time.monotonic())
        except grpc.RpcError as error:
            return CallFailed.of(error)
        except CallFailed as failure:
            return failure
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            call.cancel()
        return None

    async def _answer(
        self, answers: AsyncIterator[stream_pb2.StreamDetectResponse]
    ) -> stream_pb2.StreamDetectResponse | None:
        """The next message; None if the call has ended well.

        Raises:
            TimeoutError: The server is lost.
        """
        reading = asyncio.ensure_future(anext(answers, None))
        silent_at = self._protocol.silent_at
        try:
            await asyncio.wait({reading}, timeout=None if math.isinf(silent_at) else silent_at - time.monotonic())
            # Never without a look at what has come: the caller may have kept the loop busy.
            await asyncio.wait({reading}, timeout=_LOOK_S)
            if not reading.done():
                raise TimeoutError
            return reading.result()
        finally:
            reading.cancel()

    async def _send(self, call: _Call, first: stream_pb2.StreamDetectRequest) -> None:
        # Once the call is over nothing can be sent, and whoever reads is told why.
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
            await call.write(first)
            while True:
                match await self._next_step():
                    case Send(message):
                        await call.write(message)
                    case Encode(entry):
                        await self._encode(entry)
                    case HalfClose():
                        await call.done_writing()
                        return

    async def _next_step(self) -> Step[FrameT]:
        while True:
            step = self._protocol.next_step(time.monotonic())
            self._notify()  # frames may have been dropped or refused on the way
            if step is not None:
                return step
            await self._changed.wait()

    async def _encode(self, entry: Entry[FrameT]) -> None:
        try:
            message = await asyncio.to_thread(self._encoder.encode, entry)
        except CallFailed as error:
            self._protocol.refused(entry, error, time.monotonic())
            self._notify()
        else:
            self._protocol.encoded(entry, message)

    async def _read_source(self) -> None:
        failure: BaseException | None = None
        try:
            if isinstance(self._frames, AsyncIterable):
                await self._add_all(aiter(self._frames))
            else:
                async with contextlib.aclosing(OffLoop(self._frames, SOURCE_PATIENCE_S)) as frames:
                    await self._add_all(frames)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
            failure = error
        self._protocol.end_source(failure)
        self._notify()

    async def _add_all(self, frames: AsyncIterator[FrameT]) -> None:
        with contextlib.suppress(StopAsyncIteration):
            while True:
                await self._wait_for(lambda: self._protocol.wants_more)
                self._protocol.add(await anext(frames), time.monotonic())
                self._notify()
