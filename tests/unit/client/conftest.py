"""A server of the contract that finds red rectangles, written by hand, so that the SDK is tested over a real wire."""

from __future__ import annotations

from concurrent import futures
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import cv2
import grpc
import numpy as np
import pytest
from google.protobuf.any_pb2 import Any as PackedAny
from google.rpc import status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from support import sdk

from detector_grpc._gen.detector.v1 import (
    detection_pb2,
    detector_service_pb2,
    detector_service_pb2_grpc,
    image_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    stream_pb2,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from google.protobuf.message import Message
    from numpy.typing import NDArray

    from detector_grpc.client import AsyncDetector

    StreamRequests: TypeAlias = Iterator[stream_pb2.StreamDetectRequest]
    StreamResponses: TypeAlias = Iterator[stream_pb2.StreamDetectResponse]

    # Opens a detector with the constructor's arguments, by default one of the running server.
    Connect: TypeAlias = Callable[..., AbstractAsyncContextManager[AsyncDetector]]

MessageT = TypeVar("MessageT", bound="Message")

DIGEST = f"sha256:{'0123456789abcdef' * 4}"


class RedDetector(detector_service_pb2_grpc.DetectorServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """Finds the red rectangle of a picture, or for grey ones the bright one.

    Remembers the requests and metadata of its calls, and fails where `failure` says so. A stream goes as the next of
    the `scripts` says, which are given the servicer, the config, the requests that follow it and the context.
    """

    def __init__(self) -> None:
        self.requests: list[Message] = []
        self.metadata: dict[str, str] = {}
        self.input_size: image_pb2.ImageSize | None = image_pb2.ImageSize(width=64, height=48)
        self.failure: Callable[[grpc.ServicerContext], None] | None = None
        self.scripts: list[Callable[..., StreamResponses]] = []

    def StreamDetect(  # noqa: N802
        self, requests: StreamRequests, context: grpc.ServicerContext
    ) -> StreamResponses:
        first = next(requests)
        self._remember(first, context)
        script = self.scripts.pop(0) if self.scripts else RedDetector.answer_all
        yield from script(self, first.config, requests, context)

    def answer_all(
        self, config: stream_pb2.StreamConfig, requests: StreamRequests, _: grpc.ServicerContext
    ) -> StreamResponses:
        """What a server does that nothing happens to."""
        yield self.ready(config)
        for request in requests:
            yield self.answer(request)

    @staticmethod
    def ready(config: stream_pb2.StreamConfig, **fields: object) -> stream_pb2.StreamDetectResponse:
        usual = {
            "model": config.model or "red",
            "version": config.version or "v1",
            "options": config.options,
            "max_frames_in_flight": 4,
            "max_frame_bytes": 100_000,
            "heartbeat_interval_ms": 60_000,
        }
        return stream_pb2.StreamDetectResponse(ready=stream_pb2.StreamReady(**{**usual, **fields}))

    def answer(self, request: stream_pb2.StreamDetectRequest) -> stream_pb2.StreamDetectResponse:
        """The answer to a frame or an update."""
        self.requests.append(request)
        if request.HasField("update"):
            return stream_pb2.StreamDetectResponse(updated={"options": request.update.options})
        frame, image = request.frame, decoded(request.frame.image)
        answer = stream_pb2.StreamDetectResponse(result={"frame_id": frame.frame_id, "age_ms": 1})
        if image is None:
            answer.result.error.code, answer.result.error.message = 3, "the bytes are no picture"
        else:
            source = frame.source_size if frame.HasField("source_size") else None
            found, size = self._found(image, source)
            answer.result.detections.detections.extend(found)
            answer.result.detections.image_size.CopyFrom(size)
        return answer

    def Detect(  # noqa: N802
        self, request: detector_service_pb2.DetectRequest, context: grpc.ServicerContext
    ) -> detector_service_pb2.DetectResponse:
        self._remember(request, context)
        image = decoded(request.image)
        if image is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the bytes are no picture")
        found, size = self._found(image, request.source_size if request.HasField("source_size") else None)
        return detector_service_pb2.DetectResponse(
            request_id=self.metadata.get("x-request-id", "made-here"),
            model=request.model or "red",
            version=request.version or "v1",
            detections=found,
            image_size=size,
            options=detection_pb2.DetectOptions(confidence_threshold=0.25, iou_threshold=0.7, max_detections=300),
            timing=detection_pb2.Timing(queue_ms=1, decode_ms=2, preprocess_ms=3, inference_ms=4, postprocess_ms=5),
            model_digest=DIGEST,
            uncertainty=0.1,
        )

    def ListModels(  # noqa: N802
        self, request: model_service_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> model_service_pb2.ListModelsResponse:
        self._remember(request, context)
        loading = model_service_pb2.ModelVersion(model="red", version="v2", state=model_service_pb2.MODEL_STATE_LOADING)
        return model_service_pb2.ListModelsResponse(
            versions=[self._version(), loading], default_model="red", default_version="v1"
        )

    def GetModel(  # noqa: N802
        self, request: model_service_pb2.GetModelRequest, context: grpc.ServicerContext
    ) -> model_service_pb2.GetModelResponse:
        self._remember(request, context)
        return model_service_pb2.GetModelResponse(version=self._version())

    def asked(self, kind: type[MessageT]) -> list[MessageT]:
        return [request for request in self.requests if isinstance(request, kind)]

    @staticmethod
    def _found(
        image: NDArray[np.uint8], source: image_pb2.ImageSize | None
    ) -> tuple[list[detection_pb2.Detection], image_pb2.ImageSize]:
        """Detections in source pixels, and the source's size."""
        height, width = image.shape[:2]
        scale_x, scale_y = (source.width / width, source.height / height) if source else (1.0, 1.0)
        found = [
            detection_pb2.Detection(
                class_id=2,
                class_name="red [thing]",
                confidence=0.9,
                bbox=detection_pb2.BoundingBox(
                    x_min=box[0] * scale_x, y_min=box[1] * scale_y, x_max=box[2] * scale_x, y_max=box[3] * scale_y
                ),
            )
            for box in red_boxes(image)
        ]
        return found, source or image_pb2.ImageSize(width=width, height=height)

    def _version(self) -> model_service_pb2.ModelVersion:
        return model_service_pb2.ModelVersion(
            model="red",
            version="v1",
            state=model_service_pb2.MODEL_STATE_READY,
            class_names=["a", "b", "red [thing]"],
            input_size=self.input_size,
            head="xyxy",
            default_options=detection_pb2.DetectOptions(iou_threshold=0.7),
            digest=DIGEST,
            execution_provider="CPUExecutionProvider",
        )

    def _remember(self, request: Message, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        self.metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        if self.failure:
            self.failure(context)


class Server:
    """A running server: its servicer, its health, its address."""

    def __init__(self) -> None:
        self.red = RedDetector()
        self.health = health.HealthServicer()
        self.health.set("", health_pb2.HealthCheckResponse.SERVING)
        self._server = grpc.server(futures.ThreadPoolExecutor(16))
        detector_service_pb2_grpc.add_DetectorServiceServicer_to_server(self.red, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self.red, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        # One address: of several that a name has, another server may have the port of some.
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def fail(self, code: grpc.StatusCode, message: str, *details: Message, request_id: str = "r-1") -> None:
        """Makes every call fail."""
        self.red.failure = self.failure(code, message, *details, request_id=request_id)

    @staticmethod
    def failure(
        code: grpc.StatusCode, message: str, *details: Message, request_id: str = "r-1"
    ) -> Callable[[grpc.ServicerContext], None]:
        """Ends a call."""
        packed = [PackedAny() for _ in details]
        for target, detail in zip(packed, details, strict=True):
            target.Pack(detail)
        status = status_pb2.Status(code=code.value[0], message=message, details=packed)
        trailing = (("grpc-status-details-bin", status.SerializeToString()), ("x-request-id", request_id))

        def fail(context: grpc.ServicerContext) -> None:
            context.set_trailing_metadata(trailing)
            context.abort(code, message)

        return fail

    def stop(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture(params=["blocking", "asyncio"])
def connect(request: pytest.FixtureRequest, server: Server) -> Connect:
    """Opens either detector, with the methods of the asyncio one."""

    @asynccontextmanager
    async def opened(address: str = server.address, *args: str, **options: object) -> AsyncIterator[object]:
        async with sdk.opened(request.param, address, *args, **options) as detector:
            yield detector

    return opened


def decoded(image: image_pb2.Image) -> NDArray[np.uint8] | None:
    """uint8 (H, W, 3) RGB, upright; None if it cannot be decoded."""
    if image.WhichOneof("source") == "encoded":
        return cv2.imdecode(np.frombuffer(image.encoded, np.uint8), cv2.IMREAD_COLOR_RGB) if image.encoded else None
    raw = image.raw
    if raw.format == image_pb2.PIXEL_FORMAT_GRAY8:
        return np.dstack([np.frombuffer(raw.data, np.uint8).reshape(raw.size.height, raw.size.width)] * 3)
    pixels = np.frombuffer(raw.data, np.uint8).reshape(raw.size.height, raw.size.width, 3)
    return pixels if raw.format == image_pb2.PIXEL_FORMAT_RGB24 else pixels[:, :, ::-1]


def red_boxes(image: NDArray[np.uint8]) -> list[tuple[float, float, float, float]]:
    is_grey = not np.ptp(image, axis=2).any()
    rows, columns = np.nonzero((image[:, :, 0] > 128) & ((image[:, :, 2] < 128) | is_grey))
    if not len(rows):
        return []
    return [(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


class Scene:
    """A black picture with one red rectangle.

    Attributes:
        rgb: uint8 (H, W, 3).
        box: x_min, y_min, x_max, y_max of the rectangle.
    """

    def __init__(self, width: int, height: int, box: tuple[int, int, int, int]) -> None:
        self.rgb = np.zeros((height, width, 3), np.uint8)
        self.rgb[box[1] : box[3], box[0] : box[2], 0] = 255
        self.box = box

    def encoded(self, suffix: str) -> bytes:
        return cv2.imencode(suffix, self.rgb[:, :, ::-1].copy())[1].tobytes()


@pytest.fixture
def scene() -> Scene:
    """160 x 120 pixels."""
    return Scene(160, 120, (40, 30, 100, 90))
