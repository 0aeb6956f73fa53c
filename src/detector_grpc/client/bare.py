"""Calls that cost the caller as little as they can, for those who measure a server: made once, sent again and again.

Answers to calls are not looked at, and no call is tried twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple, cast

import grpc

from detector_grpc._gen.detector.v1 import detection_pb2, stream_pb2
from detector_grpc.client.aio import make
from detector_grpc.client.calls import STREAM_DETECT, Calls
from detector_grpc.client.errors import CallFailed
from detector_grpc.client.stream.messages import DROP_REASONS, config_message
from detector_grpc.rpc import transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from types import TracebackType
    from typing import Never, Self, TypeAlias

    from google.protobuf.message import Message

    from detector_grpc._gen.detector.v1 import detector_service_pb2
    from detector_grpc.client.options import DetectOptions
    from detector_grpc.client.results import DetectionResult
    from detector_grpc.client.stream.values import Mode

    _Requests: TypeAlias = Sequence[detector_service_pb2.DetectRequest]
    _Method: TypeAlias = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
    _StreamCall: TypeAlias = grpc.aio.StreamStreamCall[Message, stream_pb2.StreamDetectResponse]

_FIRST_TIMEOUT_S = 30.0
_REFUSAL_S = 0.25


class BareDetector:
    """Sends the same pictures again and again, by turns, over several connections.

    Made and used inside one running loop. Methods raise CallFailed where a call fails, unless they say otherwise.
    """

    def __init__(
        self,
        target: str,
        model: str,
        version: str,
        *,
        token: str | None,
        tls: transport.TlsFiles | None,
        connections: int,
    ) -> None:
        """Opens no connection yet; see Detector for the arguments."""
        self._calls = Calls(model, version, token)
        self._metadata = self._calls.metadata()
        self._channels = [transport.aio_channel(target, tls, own_connection=True) for _ in range(connections)]
        self._options: DetectOptions = {}
        self._requests: _Requests = ()
        self._methods: Sequence[_Method] = ()
        self._encoded: Sequence[bytes] = ()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def prepare(self, pictures: Sequence[bytes], options: DetectOptions, *, downscale: bool) -> DetectionResult:
        """Makes the requests of these picture files, makes all connections, and returns the answer to the first one."""
        input_wh = await make(self._channels[0], self._calls.model_input_wh(), _FIRST_TIMEOUT_S) if downscale else None
        calls = [self._calls.detect(picture, "RGB", input_wh, None, options) for picture in pictures]
        self._options = options
        self._requests = [cast("detector_service_pb2.DetectRequest", call.request) for call in calls]
        self._encoded = [request.SerializeToString() for request in self._requests]
        # Without the serialisers that a call has, gRPC takes bytes and gives bytes.
        self._methods = [channel.unary_unary(calls[0].method) for channel in self._channels]
        answer = await make(self._channels[0], calls[0], _FIRST_TIMEOUT_S)
        try:
            async with asyncio.timeout(_FIRST_TIMEOUT_S):
                await asyncio.gather(*(channel.channel_ready() for channel in self._channels))
        except TimeoutError as error:
            raise CallFailed("UNAVAILABLE", f"not all of {len(self._channels)} connections could be made") from error
        return answer

    @property
    def largest_request_bytes(self) -> int:
        """Size of the largest request."""
        return max(map(len, self._encoded))

    async def detect(self, number: int, timeout_s: float) -> CallFailed | None:
        """Makes the call of this number; returns how it failed, if it did, and raises nothing."""
        method = self._methods[number % len(self._methods)]
        try:
            await method(self._encoded[number % len(self._encoded)], timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            return CallFailed.of(error)
        return None

    async def open_stream(self, number: int, mode: Mode = "latest") -> BareStream:
        """Opens the stream of this number, and waits until the server has taken it on."""
        config = config_message(self._calls.model, self._calls.version, mode, None, None)
        config.options.CopyFrom(detection_pb2.DetectOptions(**self._options))
        method = self._channels[number % len(self._channels)].stream_stream(
            STREAM_DETECT,
            stream_pb2.StreamDetectRequest.SerializeToString,
            stream_pb2.StreamDetectResponse.FromString,
        )
        stream = BareStream(method(metadata=self._metadata), self._requests)
        try:
            await stream.open(config)
        except BaseException:
            stream.cancel()
            raise
        return stream


class FrameAnswer(NamedTuple):
    """What became of one frame.

    Attributes:
        frame_id: Its id.
        age_ms: Time from its arrival at the server to the answer, as the server says.
        dropped: Why it was not looked at; None if it was not dropped.
        failure: Why it could not be looked at; None if it did not fail.
    """

    frame_id: int
    age_ms: float
    dropped: str | None
    failure: CallFailed | None


class BareStream:
    """A stream of the same pictures, by turns. Every method raises CallFailed where the stream has failed."""

    def __init__(self, call: _StreamCall, requests: _Requests) -> None:
        self._call = call
        # Not `call.read`, which says that nothing more comes as soon as the call has ended, whatever has come before.
        self._responses = aiter(call)
        self._requests = requests

    async def open(self, config: stream_pb2.StreamConfig) -> None:
        """Sends the config, and waits for the server's word."""
        reading = asyncio.ensure_future(self._read())
        # Refusals are waited for: after a write that fails gRPC knows no more why, and calls it INTERNAL.
        await asyncio.wait({reading}, timeout=_REFUSAL_S)
        if not reading.done():
            with contextlib.suppress(CallFailed):  # which reading raises, too
                await self._write(stream_pb2.StreamDetectRequest(config=config))
        await reading

    async def send(self, frame_id: int) -> None:
        """Sends a frame."""
        request = self._requests[frame_id % len(self._requests)]
        source_size = request.source_size if request.HasField("source_size") else None
        frame = stream_pb2.Frame(frame_id=frame_id, image=request.image, source_size=source_size)
        await self._write(stream_pb2.StreamDetectRequest(frame=frame))

    async def half_close(self) -> None:
        """Says that no more frames come."""
        try:
            await self._call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            await self._raise_end()

    async def answers(self) -> AsyncIterator[FrameAnswer]:
        """The answers until the server has no more."""
        while (message := await self._read()) is not None:
            if message.WhichOneof("message") == "result":
                yield _frame_answer(message.result)

    def cancel(self) -> None:
        """Ends it at once."""
        self._call.cancel()

    async def _write(self, message: stream_pb2.StreamDetectRequest) -> None:
        try:
            await self._call.write(message)
        except (grpc.RpcError, asyncio.InvalidStateError):
            await self._raise_end()

    async def _read(self) -> stream_pb2.StreamDetectResponse | None:
        try:
            return await anext(self._responses, None)
        except grpc.RpcError as error:
            raise CallFailed.of(error) from error

    async def _raise_end(self) -> Never:
        """Says why nothing can be written any more."""
        try:
            await self._call.read()  # of a call that has failed it is this that tells all
        except grpc.RpcError as error:
            raise CallFailed.of(error) from error
        raise CallFailed("UNAVAILABLE", "the server ended the stream")


def _frame_answer(result: stream_pb2.FrameResult) -> FrameAnswer:
    outcome = result.WhichOneof("outcome")
    return FrameAnswer(
        result.frame_id,
        result.age_ms,
        DROP_REASONS.get(result.dropped.reason, "overload") if outcome == "dropped" else None,
        CallFailed.of_status(result.error) if outcome == "error" else None,
    )
