"""Calls to a server as bare as they come: stubs on a channel, no retries, no help of the SDK."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from detector_grpc._gen.detector.v1 import (
    detector_service_pb2_grpc,
    image_pb2,
    model_admin_service_pb2_grpc,
    model_service_pb2_grpc,
)
from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectRequest, DetectResponse
from detector_grpc._gen.detector.v1.model_admin_service_pb2 import (
    LoadModelVersionRequest,
    LoadModelVersionResponse,
    UnloadModelVersionRequest,
    UnloadModelVersionResponse,
)
from support.servers import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

# A channel of its own for every client, and no proxy between a test and its server.
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]

DETECT = "/detector.v1.DetectorService/Detect"

Metadata = tuple[tuple[str, str], ...]
FoundT = TypeVar("FoundT")


class Client:
    """Stubs of every service, on one connection."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.detector = detector_service_pb2_grpc.DetectorServiceStub(channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(channel)
        self.health = health_pb2_grpc.HealthStub(channel)
        self.admin = model_admin_service_pb2_grpc.ModelAdminServiceStub(channel)

    def detect(self, request: DetectRequest, metadata: Metadata = (), timeout_s: float = PATIENCE_S) -> DetectResponse:
        return self.detector.Detect(request, timeout=timeout_s, metadata=metadata)

    def start_detect(
        self, request: DetectRequest, metadata: Metadata = (), timeout_s: float | None = PATIENCE_S
    ) -> Any:
        """A call in progress."""
        return self.detector.Detect.future(request, timeout=timeout_s, metadata=metadata)

    def send_bytes(self, data: bytes, timeout_s: float = PATIENCE_S) -> bytes:
        """Sends bytes as they are to Detect."""
        return self.start_bytes(data, timeout_s).result()

    def start_bytes(self, data: bytes, timeout_s: float = PATIENCE_S) -> Any:
        """As `send_bytes`, a call in progress."""
        return self.channel.unary_unary(DETECT).future(data, timeout=timeout_s)

    def load(
        self, version: str, model: str = "tiny", timeout_s: float = PATIENCE_S, metadata: Metadata = ()
    ) -> LoadModelVersionResponse:
        """Loads a version; for clients of the admin port."""
        request = LoadModelVersionRequest(model=model, version=version)
        return self.admin.LoadModelVersion(request, timeout=timeout_s, metadata=metadata)

    def start_load(self, version: str, model: str = "tiny") -> Any:
        """As `load`, a call in progress."""
        request = LoadModelVersionRequest(model=model, version=version)
        return self.admin.LoadModelVersion.future(request, timeout=PATIENCE_S)

    def unload(self, version: str, model: str = "tiny") -> UnloadModelVersionResponse:
        """Unloads a version; for clients of the admin port."""
        return self.start_unload(version, model).result()

    def start_unload(self, version: str, model: str = "tiny") -> Any:
        """As `unload`, a call in progress."""
        request = UnloadModelVersionRequest(model=model, version=version)
        return self.admin.UnloadModelVersion.future(request, timeout=PATIENCE_S)

    def status(self, service: str = "") -> int:
        """Health of a service."""
        return self.health.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S).status

    def watch(self, service: str = "") -> Any:
        """Stream of the health of a service."""
        return self.health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S)

    def wait_for_status(self, status: int, service: str = "") -> None:
        """Waits until the health of a service is `status`."""
        watch = self.watch(service)
        for update in watch:
            if update.status == status:
                watch.cancel()
                return


@contextmanager
def connected(
    address: str,
    credentials: grpc.ChannelCredentials | None = None,
    *,
    options: tuple[tuple[str, Any], ...] = (),
) -> Iterator[Client]:
    """A client of `host:port`."""
    every = [*OPTIONS, *options]
    channel = (
        grpc.insecure_channel(address, every)
        if credentials is None
        else grpc.secure_channel(address, credentials, every)
    )
    with channel:
        yield Client(channel)


def encoded_request(data: bytes, **fields: Any) -> DetectRequest:
    """A request with a picture file."""
    return DetectRequest(image=image_pb2.Image(encoded=data), **fields)


def raw_request(
    pixels: NDArray[Any], pixel_format: image_pb2.PixelFormat = image_pb2.PIXEL_FORMAT_RGB24, **fields: Any
) -> DetectRequest:
    """A request with the samples of uint8 (H, W, 3) or, for grey, (H, W)."""
    height, width = pixels.shape[:2]
    raw = image_pb2.RawImage(
        data=pixels.tobytes(), size=image_pb2.ImageSize(width=width, height=height), format=pixel_format
    )
    return DetectRequest(image=image_pb2.Image(raw=raw), **fields)


def failure(call: Callable[[], object]) -> grpc.RpcError:
    """The error that a call ends with; succeeding is a failure of the test."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"the call succeeded: {answer}")


def answered_and_refused(
    client: Client, request: DetectRequest, timeout_s: float | None
) -> tuple[DetectResponse, grpc.RpcError]:
    """What becomes of two calls at once, one of which is too much for the server, whichever that is.

    Where the one that runs is overdue, and may end at any moment, both are answered; then two others are made.
    """

    def try_once() -> tuple[DetectResponse, grpc.RpcError] | None:
        calls = [client.start_detect(request, timeout_s=timeout_s) for _ in range(2)]
        errors = [call.exception() for call in calls]
        if errors == [None, None]:
            return None
        taken, refused = calls if errors[0] is None else reversed(calls)
        return taken.result(), failure(refused.result)

    return wait_for(try_once, "one of two calls to be refused")


def wait_for(find: Callable[[], FoundT | None], what: str, patience_s: float = PATIENCE_S) -> FoundT:
    """As `wait_until`, for something that is None until it is there; it is what is returned."""
    deadline = time.monotonic() + patience_s
    while (found := find()) is None:
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience_s} s: {what}")
        time.sleep(0.005)
    return found


def wait_until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Asks again and again, where nothing tells when a condition becomes true."""
    wait_for(lambda: condition() or None, what, patience_s)
