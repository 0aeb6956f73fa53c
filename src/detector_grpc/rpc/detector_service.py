"""DetectorService: parse, choose a version, wait for a worker, render. No arithmetic."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from detector_grpc import headers
from detector_grpc._gen.detector.v1.detector_service_pb2_grpc import DetectorServiceServicer
from detector_grpc.errors import InvalidRequest, ReceiveTimeout, ShuttingDown, Violation
from detector_grpc.rpc import convert
from detector_grpc.rpc.body import is_picture
from detector_grpc.rpc.metadata import answered_by, deadline, pinned_version, rest_query, rest_version, routed_version
from detector_grpc.rpc.pictures import Pictures, annotate_answer, detect_answer, predict_answer, standing
from detector_grpc.rpc.predict_messages import for_rest, parse_rest, uncertainty_said
from detector_grpc.rpc.stream import DetectStream
from detector_grpc.rpc.stream_messages import parse, parse_config
from detector_grpc.serving.outcome import CURRENT_CALL
from detector_grpc.serving.tracking import Tracker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from google.api.httpbody_pb2 import HttpBody

    from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectRequest, DetectResponse
    from detector_grpc._gen.detector.v1.predict_pb2 import AnnotateRequest, PredictRequest, PredictResponse
    from detector_grpc._gen.detector.v1.stream_pb2 import StreamDetectRequest
    from detector_grpc.rpc.metadata import Context
    from detector_grpc.rpc.pictures import Render
    from detector_grpc.rpc.predict_messages import RestRequest
    from detector_grpc.rpc.stream_frames import Served
    from detector_grpc.rpc.stream_messages import StreamConfig
    from detector_grpc.serving.registry import LoadedModel, Registry
    from detector_grpc.serving.resume import ResumeTokens, Resumption

T = TypeVar("T")


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
        self._pictures = Pictures(registry, served)
        self._tokens = tokens
        self._streams: set[DetectStream] = set()
        self._silent: set[asyncio.Timeout] = set()
        self._draining = False

    def check(self, context: Context) -> None:
        """Whether the current call would find a worker in time, as far as can be told before its message is read.

        Raises:
            Overloaded: It would not.
        """
        self._served.scheduler.check(*standing(CURRENT_CALL.get()), deadline(context))

    async def Detect(self, request: DetectRequest, context: Context) -> DetectResponse:  # noqa: N802
        """See the contract."""
        with self._pictures.observed(context) as picture:
            picture.choose(request.model, request.version)
            parsed = convert.parse_detect(request)
            del request  # its copy of the picture is not needed while this call waits
            answer = await picture.answer(parsed, detect_answer)
            await _say(context)
            return answer

    # No coroutines of their own, which would hold the body while the call waits.
    def Predict(self, request: PredictRequest, context: Context) -> Awaitable[PredictResponse]:  # noqa: N802
        """See the contract."""
        return self._answer_rest(request, context, predict_answer)

    def Annotate(self, request: AnnotateRequest, context: Context) -> Awaitable[HttpBody]:  # noqa: N802
        """See the contract."""
        # No answer is larger than a request may be, so whatever hands on the one can hand on the other.
        render = partial(annotate_answer, self._served.limits.max_frame_bytes)
        return self._answer_rest(request, context, render, headers.PINNED_VERSION)

    async def _answer_rest(self, request: RestRequest, context: Context, render: Render[T], *version_keys: str) -> T:
        with self._pictures.observed(context) as picture:
            try:
                said = rest_query(context), rest_version(context)
                if is_picture(request.body.content_type):
                    asked = parse_rest(request, *said)
                else:
                    asked = await asyncio.to_thread(parse_rest, request, *said)
                del request
                picture.choose(asked.model, asked.version)
                answer = await picture.answer(asked.detect, render)
            except InvalidRequest as error:
                raise for_rest(error) from None
            version = CURRENT_CALL.get().version
            await _say(context, *((key, version) for key in version_keys), *uncertainty_said(picture.result))
            return answer

    async def StreamDetect(  # noqa: N802
        self, received: AsyncIterator[bytes], context: Context
    ) -> None:
        """See the contract; messages come as bytes."""
        messages = parse(received, self._served.limits.max_frame_bytes)
        call = CURRENT_CALL.get()
        config = parse_config(await self._first(messages))
        if config.resume_token:
            resumption = self._tokens.read(config.resume_token)
            # Where the gateway would send a new stream says nothing about one that goes on.
            pinned = config.version or pinned_version(context)
            model, version = _continued(resumption, config.model, pinned)
        else:
            resumption = None
            model = config.model
            version = config.version or routed_version(context, model, self._registry)
        tracker = await _tracker(config, resumption)
        if self._draining:
            raise ShuttingDown
        found, loaded = self._registry.ready(model, version)
        call.model, call.version = found.model, found.version
        stream = DetectStream(config, resumption, loaded, call, self._served, self._tokens, tracker)
        self._streams.add(stream)
        try:
            if said := answered_by(context, found.version):
                await context.send_initial_metadata(said)
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


async def _say(context: Context, *said: tuple[str, str]) -> None:
    """Says what the answer has no fields for, and which version answers where the gateway would name another."""
    if every := (*said, *answered_by(context, CURRENT_CALL.get().version)):
        await context.send_initial_metadata(every)


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
