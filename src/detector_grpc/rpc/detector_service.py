"""DetectorService: parse, choose a version, wait for a worker, render. No arithmetic."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from detector_grpc._gen.detector.v1.detector_service_pb2_grpc import DetectorServiceServicer
from detector_grpc.errors import InvalidRequest, ReceiveTimeout, ShuttingDown, Violation
from detector_grpc.rpc import convert
from detector_grpc.rpc.status import code_of
from detector_grpc.rpc.stream import DetectStream
from detector_grpc.rpc.stream_messages import parse_config
from detector_grpc.serving.outcome import CURRENT_CALL, Outcome
from detector_grpc.serving.pipeline import EncodedImage
from detector_grpc.serving.tracking import Tracker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

    from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectRequest, DetectResponse
    from detector_grpc._gen.detector.v1.stream_pb2 import StreamDetectRequest, StreamDetectResponse
    from detector_grpc.rpc.stream_frames import Served
    from detector_grpc.rpc.stream_messages import StreamConfig
    from detector_grpc.serving.outcome import Call
    from detector_grpc.serving.pipeline import Result
    from detector_grpc.serving.registry import LoadedModel, Registry
    from detector_grpc.serving.resume import ResumeTokens, Resumption

    Context = grpc.aio.ServicerContext[DetectRequest, DetectResponse]
    StreamContext = grpc.aio.ServicerContext[StreamDetectRequest, StreamDetectResponse]

PINNED_VERSION_KEY = "x-model-version"
ARM_KEY = "x-detector-arm"


class DetectorService(DetectorServiceServicer):
    """Answers detection calls.

    Args:
        registry: The versions.
        served: What calls and streams share.
        tokens: What makes and reads the tokens with which streams go on.
    """

    def __init__(
        self,
        registry: Registry,
        served: Served,
        tokens: ResumeTokens,
    ) -> None:
        self._registry = registry
        self._served = served
        self._tokens = tokens
        self._streams: set[DetectStream] = set()
        self._silent: set[asyncio.Timeout] = set()
        self._draining = False

    async def Detect(self, request: DetectRequest, context: Context) -> DetectResponse:  # noqa: N802
        """See the contract."""
        started = time.perf_counter()
        call = CURRENT_CALL.get()
        encoded: bytes | None = None
        result: Result | None = None
        digest = ""
        error: BaseException | None = None
        try:
            model, version = request.model, request.version or _routed_version(context)
            found, loaded = self._registry.ready(model, version)
            call.model, call.version = found.model, found.version
            digest = loaded.signature.digest
            parsed = convert.parse_detect(request)
            del request  # its copy of the picture is not needed while this call waits
            encoded = parsed.image.data if isinstance(parsed.image, EncodedImage) else None
            # No await since `ready`: from the moment that it is chosen, the model is known to be used.
            response, result = await self._served.scheduler.submit(
                partial(_answer, loaded, parsed, call), _deadline(context), (call.caller, "calls"), loaded
            )
        except BaseException as raised:
            error = raised
            raise
        else:
            return response
        finally:
            status = _status(error, context)
            duration_s = time.perf_counter() - started
            self._served.observe(Outcome(call, status, duration_s, encoded, result, digest, error))

    async def StreamDetect(  # noqa: N802
        self, messages: AsyncIterator[tuple[StreamDetectRequest, int]], context: StreamContext
    ) -> None:
        """See the contract; messages come with their sizes in bytes."""
        call = CURRENT_CALL.get()
        config = parse_config(await self._first(messages))
        if config.resume_token:
            resumption = self._tokens.read(config.resume_token)
            # Where the gateway would send a new stream says nothing about one that goes on.
            pinned = config.version or _metadata(context, PINNED_VERSION_KEY)
            model, version = _continued(resumption, config.model, pinned)
        else:
            resumption = None
            model, version = config.model, config.version or _routed_version(context)
        tracker = await _tracker(config, resumption)
        if self._draining:
            raise ShuttingDown
        found, loaded = self._registry.ready(model, version)
        call.model, call.version = found.model, found.version
        stream = DetectStream(config, resumption, loaded, call, self._served, self._tokens, tracker)
        self._streams.add(stream)
        try:
            await stream.run(messages, context.write)
        finally:
            self._streams.discard(stream)

    async def _first(self, messages: AsyncIterator[tuple[StreamDetectRequest, int]]) -> StreamDetectRequest:
        """The first message of a stream; who holds a place without saying anything loses it."""
        patience = asyncio.timeout(self._served.limits.config_timeout_s)
        self._silent.add(patience)
        try:
            async with patience:
                first = await anext(messages, None)
        except TimeoutError:
            if self._draining:
                raise ShuttingDown from None
            raise ReceiveTimeout(self._served.limits.config_timeout_s) from None
        finally:
            self._silent.discard(patience)
        if first is None:
            raise InvalidRequest([Violation("config", "must be the first message of a stream, there is none")])
        return first[0]

    async def until_unused(self, loaded: LoadedModel) -> None:
        """Waits until no call uses a model that no further one gets; its streams are told where to go on."""
        await asyncio.gather(*(stream.end() for stream in self._streams if stream.loaded is loaded))
        await self._served.scheduler.until_unused(loaded)

    def drain_streams(self) -> None:
        """Takes no more frames and no more streams; each stream is told where to go on."""
        self._draining = True
        for stream in self._streams:
            stream.drain()
        for patience in self._silent:
            patience.reschedule(asyncio.get_running_loop().time())


def _continued(resumption: Resumption, model: str, version: str) -> tuple[str, str]:
    """The model and version of the stream that goes on.

    Raises:
        InvalidRequest: The config asks for others.
    """
    wrong = [
        Violation(f"config.{name}", f'the stream that goes on has "{before}", got "{asked}"')
        for name, asked, before in (("model", model, resumption.model), ("version", version, resumption.version))
        if asked not in ("", before)
    ]
    if wrong:
        raise InvalidRequest(wrong)
    return resumption.model, resumption.version


async def _tracker(config: StreamConfig, resumption: Resumption | None) -> Tracker | None:
    if config.tracking is None:
        return None
    return await asyncio.to_thread(Tracker, *config.tracking, resumption.last_track_id if resumption else 0)


def _answer(
    loaded: LoadedModel, parsed: convert.DetectCall, call: Call, queue_s: float
) -> tuple[DetectResponse, Result]:
    """All the work of one call, on a worker thread."""
    result = loaded.pipeline.detect(parsed.image, parsed.options, parsed.source_wh, queue_s)
    response = convert.detect_response(
        result,
        loaded.spec.class_names,
        request_id=call.request_id,
        model=call.model,
        version=call.version,
        model_digest=loaded.signature.digest,
    )
    return response, result


def _routed_version(context: Context | StreamContext) -> str:
    """The version that the caller pinned in the metadata, else the arm that the gateway chose, else none."""
    return _metadata(context, PINNED_VERSION_KEY) or _metadata(context, ARM_KEY)


def _metadata(context: Context | StreamContext, key: str) -> str:
    """What the metadata has under a key; empty if it has nothing."""
    value = dict(context.invocation_metadata() or ()).get(key, "")
    return value if isinstance(value, str) else value.decode("ascii", "replace")


def _deadline(context: Context) -> float | None:
    remaining_s = context.time_remaining()
    return None if remaining_s is None else time.monotonic() + remaining_s


def _status(error: BaseException | None, context: Context) -> str:
    if isinstance(error, asyncio.CancelledError) and context.time_remaining() == 0:
        return "deadline_exceeded"
    return code_of(error).name.lower()
