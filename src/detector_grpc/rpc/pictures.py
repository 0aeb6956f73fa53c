"""One picture on its way to its answer: the way of Detect, Predict and Annotate."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from detector_grpc.rpc import convert
from detector_grpc.rpc.metadata import deadline, pinned_version, routed_version
from detector_grpc.rpc.predict_messages import annotated, check_annotatable, predict_response
from detector_grpc.rpc.status import code_of
from detector_grpc.serving.outcome import CURRENT_CALL, Outcome
from detector_grpc.serving.scheduler import Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.api.httpbody_pb2 import HttpBody

    from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectResponse
    from detector_grpc._gen.detector.v1.predict_pb2 import PredictResponse
    from detector_grpc.rpc.metadata import Context
    from detector_grpc.rpc.stream_frames import Served
    from detector_grpc.serving.outcome import Call
    from detector_grpc.serving.pipeline import Image, PictureRequest, Result
    from detector_grpc.serving.registry import LoadedModel, Registry
    from detector_grpc.serving.turns import Flow

    T = TypeVar("T")
    Render: TypeAlias = Callable[[LoadedModel, Image, Result, Call], T]


class Pictures:
    """Answers pictures.

    Args:
        registry: The versions.
        served: What calls and streams share.
    """

    def __init__(self, registry: Registry, served: Served) -> None:
        self._registry = registry
        self._served = served

    @contextmanager
    def observed(self, context: Context) -> Iterator[Picture]:
        """The picture of a call; the observers are told what became of it."""
        started = time.perf_counter()
        picture = Picture(self._registry, self._served, context)
        error: BaseException | None = None
        try:
            yield picture
        except BaseException as raised:
            error = raised
            raise
        finally:
            status = _status(error, context)
            self._served.observe(picture.outcome(status, time.perf_counter() - started, error))


class Picture:
    """First to be given a model, by `choose`, then to be answered, without an await between the two."""

    def __init__(self, registry: Registry, served: Served, context: Context) -> None:
        self._registry = registry
        self._served = served
        self._context = context
        self._call = CURRENT_CALL.get()
        self._loaded: LoadedModel | None = None
        self._request: PictureRequest | None = None
        self._result: Result | None = None

    def choose(self, model: str, version: str) -> None:
        """Chooses what answers, by what the request asks for.

        Raises:
            DetectorError: It is not here, or not ready.
        """
        if version or pinned_version(self._context) or not self._registry.is_default_model(model):
            self._call.shadow = ""  # the gateway chose the call by an arm that the request does not leave open
        version = version or routed_version(self._context, model, self._registry)
        found, self._loaded = self._registry.ready(model, version)
        self._call.model, self._call.version = found.model, found.version

    async def answer(self, parsed: PictureRequest, render: Render[T]) -> T:
        """Waits for a worker, which does all the work."""
        loaded = self._loaded
        assert loaded is not None  # noqa: S101 - for mypy
        self._request = parsed
        # No await since `choose`: from the moment that it is chosen, the model is known to be used.
        sampled = self._served.wants_sample(self._call)
        work = partial(_look, loaded, parsed, render, self._call, sampled=sampled)
        answer, self._result = await self._served.scheduler.submit(
            work, *standing(self._call), deadline(self._context), loaded
        )
        return answer

    @property
    def result(self) -> Result:
        """What was found, once `answer` has returned."""
        assert self._result is not None  # noqa: S101 - for mypy
        return self._result

    def outcome(self, status: str, duration_s: float, error: BaseException | None) -> Outcome:
        """What became of it."""
        loaded = self._loaded
        return Outcome(
            self._call,
            status,
            duration_s,
            self._request,
            self._result,
            model_digest=loaded.signature.digest if loaded else "",
            class_names=loaded.spec.class_names if loaded else (),
            error=error,
        )


def standing(call: Call) -> tuple[Flow, Priority]:
    """Where the picture of a call waits for a worker."""
    return (call.caller, "calls"), Priority.BATCH if call.copy_of else Priority.INTERACTIVE


def detect_answer(loaded: LoadedModel, _: Image, result: Result, call: Call) -> DetectResponse:
    """The answer to a DetectRequest."""
    return convert.detect_response(
        result,
        loaded.spec.class_names,
        request_id=call.request_id,
        model=call.model,
        version=call.version,
        model_digest=loaded.signature.digest,
    )


def predict_answer(loaded: LoadedModel, _: Image, result: Result, call: Call) -> PredictResponse:
    """The answer to a PredictRequest."""
    return predict_response(result, loaded.spec.class_names, request_id=call.request_id, version=call.version)


def annotate_answer(max_bytes: int, loaded: LoadedModel, image: Image, result: Result, _: Call) -> HttpBody:
    """The answer to an AnnotateRequest, a JPEG of at most `max_bytes`."""
    check_annotatable(result.image_wh)
    return annotated(loaded.pipeline.upright(image), result, loaded.spec.class_names, max_bytes)


def _look(
    loaded: LoadedModel, parsed: PictureRequest, render: Render[T], call: Call, queue_s: float, *, sampled: bool
) -> tuple[T, Result]:
    """All the work, on a worker thread."""
    result = loaded.pipeline.detect(parsed.image, parsed.options, parsed.source_wh, queue_s, sampled=sampled)
    return render(loaded, parsed.image, result, call), result


def _status(error: BaseException | None, context: Context) -> str:
    if isinstance(error, asyncio.CancelledError) and context.time_remaining() == 0:
        return "deadline_exceeded"
    return code_of(error).name.lower()
