"""The calls that a detector makes, blocking or not: everything about them but the I/O."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from detector_grpc import headers
from detector_grpc._gen.detector.v1 import (
    detection_pb2,
    detector_service_pb2,
    model_admin_service_pb2,
    model_service_pb2,
)
from detector_grpc.client.models import ModelVersion, loaded_version, model_input_wh, model_versions
from detector_grpc.client.pictures import Color, Picture, image_message
from detector_grpc.client.results import DetectionResult, detection_result
from detector_grpc.client.stream.ledger import FrameLedger
from detector_grpc.client.stream.messages import config_message
from detector_grpc.client.stream.outage import Outage
from detector_grpc.client.stream.protocol import StreamProtocol
from detector_grpc.client.stream.updates import Options

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable

    from detector_grpc.client.options import DetectOptions
    from detector_grpc.client.stream.values import FrameT, Mode, Tracking

STREAM_DETECT = "/detector.v1.DetectorService/StreamDetect"

Metadata = tuple[tuple[str, str], ...]
AnswerT = TypeVar("AnswerT", bound=Message)
ResultT = TypeVar("ResultT")


# gRPC counts in nanoseconds since 1970, in 64 bits, and takes a deadline beyond the year 2262 for one that has passed.
_LONGEST_S = 1e9


def call_timeout_s(timeout_s: float | None) -> float | None:
    """What gRPC is told of how long a call may take; of a lifetime and more, infinity included, that there is no limit.

    Raises:
        ValueError: No call could be made in this time.
    """
    if timeout_s is None:
        return None
    if not timeout_s > 0:  # which holds for NaN, too
        raise ValueError(f"timeout_s is more than 0 seconds, or None for no limit, not {timeout_s!r}")
    return timeout_s if timeout_s < _LONGEST_S else None


@dataclass(frozen=True)
class Call(Generic[AnswerT, ResultT]):
    """One call that is still to be made.

    Attributes:
        method: "/package.Service/Method".
        request: What to send.
        answer: Message that comes back, once or as a stream.
        read: Makes the caller's value of it.
        metadata: What to send beside the request.
    """

    method: str
    request: Message
    answer: type[AnswerT]
    read: Callable[[AnswerT], ResultT]
    metadata: Metadata


@dataclass(frozen=True)
class Calls:
    """Makes the calls of one detector, and the orders for one version.

    Attributes:
        model: Name of the model; empty for the server's default. Orders need it.
        version: Version of the model; empty to leave the choice to gateway and server. Orders need it.
        token: Bearer token, or None to show none.
        stream_id: Name of the stream of pictures that they are of; empty for none.
    """

    model: str
    version: str
    token: str | None = field(repr=False)
    stream_id: str = ""

    def of_stream(self, stream_id: str) -> Calls:
        """The same calls, of a stream of pictures.

        Raises:
            ValueError: No stream can have this name.
        """
        longest = headers.MAX_STREAM_ID
        if len(stream_id) > longest or not (stream_id.isascii() and stream_id.isprintable()):
            raise ValueError(f"a stream_id has at most {longest} printable ASCII characters, not {stream_id!r}")
        return replace(self, stream_id=stream_id)

    def detect(
        self,
        picture: Picture,
        color: Color,
        input_wh: tuple[int, int] | None,
        request_id: str | None,
        options: DetectOptions,
    ) -> Call[detector_service_pb2.DetectResponse, DetectionResult]:
        """Asks for the objects in one picture; reads files, and scales down where `input_wh` is given.

        Raises as `image_message`.
        """
        image, source_size = image_message(picture, color, input_wh)
        request = detector_service_pb2.DetectRequest(
            image=image,
            source_size=source_size,
            model=self.model,
            version=self.version,
            options=detection_pb2.DetectOptions(**options),
        )
        return Call(
            "/detector.v1.DetectorService/Detect",
            request,
            detector_service_pb2.DetectResponse,
            detection_result,
            self.metadata(request_id),
        )

    def models(self) -> Call[model_service_pb2.ListModelsResponse, list[ModelVersion]]:
        """Asks which models the server holds."""
        return Call(
            "/detector.v1.ModelService/ListModels",
            model_service_pb2.ListModelsRequest(),
            model_service_pb2.ListModelsResponse,
            model_versions,
            self.metadata(),
        )

    def model_input_wh(self) -> Call[model_service_pb2.GetModelResponse, tuple[int, int] | None]:
        """Asks for the size of the model's input, in pixels."""
        return Call(
            "/detector.v1.ModelService/GetModel",
            model_service_pb2.GetModelRequest(model=self.model, version=self.version),
            model_service_pb2.GetModelResponse,
            model_input_wh,
            self.metadata(),
        )

    def load(self) -> Call[model_admin_service_pb2.LoadModelVersionResponse, ModelVersion]:
        """Orders a server process to load the version."""
        return Call(
            "/detector.v1.ModelAdminService/LoadModelVersion",
            model_admin_service_pb2.LoadModelVersionRequest(model=self.model, version=self.version),
            model_admin_service_pb2.LoadModelVersionResponse,
            loaded_version,
            self.metadata(),
        )

    def unload(self) -> Call[model_admin_service_pb2.UnloadModelVersionResponse, bool]:
        """Orders a server process to free the version; says whether it was the default one."""
        return Call(
            "/detector.v1.ModelAdminService/UnloadModelVersion",
            model_admin_service_pb2.UnloadModelVersionRequest(model=self.model, version=self.version),
            model_admin_service_pb2.UnloadModelVersionResponse,
            lambda answer: answer.was_default,
            self.metadata(),
        )

    def health(self, service: str, *, watch: bool = False) -> Call[health_pb2.HealthCheckResponse, str]:
        """Asks for the status of a service, once or, as a stream, at every change."""
        return Call(
            f"/grpc.health.v1.Health/{'Watch' if watch else 'Check'}",
            health_pb2.HealthCheckRequest(service=service),
            health_pb2.HealthCheckResponse,
            lambda answer: str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)),
            self.metadata(),
        )

    def stream(
        self,
        frames: Iterable[FrameT] | AsyncIterable[FrameT],
        mode: Mode,
        max_frame_age_s: float | None,
        tracking: Tracking | None,
        reconnect_timeout_s: float,
        options: DetectOptions,
    ) -> StreamProtocol[FrameT]:
        """Asks for the objects in a stream of frames.

        Raises:
            TypeError: `frames` is one picture.
            ValueError: There is no such mode or option.
        """
        if isinstance(frames, str | Path | bytes):
            raise TypeError(f"a stream takes an iterable of pictures, not one {type(frames).__name__}")
        return StreamProtocol(
            config_message(self.model, self.version, mode, max_frame_age_s, tracking),
            Options(options),
            FrameLedger(mode, max_frame_age_s),
            Outage(reconnect_timeout_s),
        )

    def pinned(self, model: str, version: str) -> Calls:
        """The same caller's calls to one version."""
        return replace(self, model=model, version=version)

    def metadata(self, request_id: str | None = None) -> Metadata:
        """What to send beside the message of a call."""
        entries = {
            headers.PINNED_VERSION: self.version,  # a gateway routes by metadata and does not look into messages
            headers.AUTHORIZATION: self.token and f"Bearer {self.token}",
            headers.REQUEST_ID: request_id,
            headers.STREAM_ID: self.stream_id,
        }
        return tuple((key, value) for key, value in entries.items() if value)
