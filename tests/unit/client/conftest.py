"""A server of the contract that finds red rectangles, written by hand, so that the SDK is tested over a real wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent import futures
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import cv2
import grpc
import numpy as np
import pytest
from google.protobuf.any_pb2 import Any as PackedAny
from google.rpc import status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from detector_grpc._gen.detector.v1 import (
    detection_pb2,
    detector_service_pb2,
    detector_service_pb2_grpc,
    image_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
)
from detector_grpc.client import AsyncDetector, Detector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator

    from google.protobuf.message import Message
    from numpy.typing import NDArray

# Opens a detector with the constructor's arguments, by default one of the running server.
Connect: TypeAlias = Callable[..., AbstractAsyncContextManager[AsyncDetector]]

MessageT = TypeVar("MessageT", bound="Message")

DIGEST = f"sha256:{'0123456789abcdef' * 4}"


class RedDetector(detector_service_pb2_grpc.DetectorServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """Finds the red rectangle of a picture, or for grey ones the bright one.

    Remembers the requests and metadata of its calls, and fails where `failure` says so.
    """

    def __init__(self) -> None:
        self.requests: list[Message] = []
        self.metadata: dict[str, str] = {}
        self.input_size: image_pb2.ImageSize | None = image_pb2.ImageSize(width=64, height=48)
        self.failure: Callable[[grpc.ServicerContext], None] | None = None

    def Detect(  # noqa: N802
        self, request: detector_service_pb2.DetectRequest, context: grpc.ServicerContext
    ) -> detector_service_pb2.DetectResponse:
        self._remember(request, context)
        image = decoded(request.image)
        if image is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the bytes are no picture")
        height, width = image.shape[:2]
        source = request.source_size if request.HasField("source_size") else None
        scale = (source.width / width, source.height / height) if source else (1.0, 1.0)
        return detector_service_pb2.DetectResponse(
            request_id=self.metadata.get("x-request-id", "made-here"),
            model=request.model or "red",
            version=request.version or "v1",
            detections=[
                detection_pb2.Detection(
                    class_id=2,
                    class_name="red [thing]",
                    confidence=0.9,
                    bbox=detection_pb2.BoundingBox(
                        x_min=box[0] * scale[0],
                        y_min=box[1] * scale[1],
                        x_max=box[2] * scale[0],
                        y_max=box[3] * scale[1],
                    ),
                )
                for box in red_boxes(image)
            ],
            image_size=source or image_pb2.ImageSize(width=width, height=height),
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
        self.address = f"localhost:{self._server.add_insecure_port('localhost:0')}"
        self._server.start()

    def fail(self, code: grpc.StatusCode, message: str, *details: Message, request_id: str = "r-1") -> None:
        """Makes every call fail."""
        packed = [PackedAny() for _ in details]
        for target, detail in zip(packed, details, strict=True):
            target.Pack(detail)
        status = status_pb2.Status(code=code.value[0], message=message, details=packed)
        trailing = (("grpc-status-details-bin", status.SerializeToString()), ("x-request-id", request_id))

        def fail(context: grpc.ServicerContext) -> None:
            context.set_trailing_metadata(trailing)
            context.abort(code, message)

        self.red.failure = fail

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
        if request.param == "asyncio":
            async with AsyncDetector(address, *args, **options) as detector:
                yield detector
        else:
            with Detector(address, *args, **options) as detector:
                yield _Awaitable(detector)

    return opened


class _Awaitable:
    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        async def call(*args: object, **options: object) -> object:
            return await asyncio.to_thread(getattr(self._detector, name), *args, **options)

        return call


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
