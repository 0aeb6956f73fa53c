"""The blocking detector."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import grpc

from detector_grpc.client.calls import AnswerT, Call, Calls, ResultT, call_timeout_s
from detector_grpc.client.errors import CallFailed
from detector_grpc.client.stream.blocking import StreamAnswers
from detector_grpc.client.stream.encoder import Encoder
from detector_grpc.rpc import transport
from detector_grpc.vision.encode import JPEG_QUALITY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self, Unpack

    from detector_grpc.client.models import ModelVersion
    from detector_grpc.client.options import DetectOptions
    from detector_grpc.client.pictures import Color, Picture
    from detector_grpc.client.results import DetectionResult
    from detector_grpc.client.stream.values import FrameT, Mode, Tracking


class Detector:
    """Finds objects in pictures with a detector-grpc server. Any number of threads may share one.

    Every method that makes a call raises CallFailed where the call fails.
    """

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
        """Opens no connection yet; the first call does.

        Args:
            target: "host:port" of a server or a gateway.
            model: Name of the model; empty for the server's default.
            version: Version of the model; empty to leave the choice to gateway and server.
            token: Bearer token.
            tls: Certificates; `TlsFiles()` for TLS with the usual authorities, None for no TLS.
            timeout_s: Longest that one call may take, in seconds, more than 0; None: no limit.

        Raises:
            SetupInvalid: A TLS file cannot be read.
            ValueError: No call could be made in `timeout_s`.
        """
        self._calls = Calls(model, version, token)
        self._timeout_s = call_timeout_s(timeout_s)
        self._channel = transport.channel(target, tls)
        self._open_channel = partial(transport.channel, target, tls, own_connection=True)
        self._input_wh: tuple[int, int] | None = None
        self._input_wh_lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls in progress fail. Streams have their own, and end with their own context."""
        self._channel.close()

    def detect(
        self,
        picture: Picture,
        *,
        downscale: bool = False,
        color: Color = "RGB",
        request_id: str | None = None,
        stream_id: str = "",
        **options: Unpack[DetectOptions],
    ) -> DetectionResult:
        """Finds the objects in one picture.

        Args:
            picture: Path of a JPEG, PNG, WebP, BMP or TIFF file, such a file's bytes, or pixels: uint8 (H, W, 3), or
                (H, W) for grey.
            downscale: Scale a picture that is larger than the model's input down before sending it, which saves
                bandwidth. Boxes are in pixels of `picture` all the same.
            color: Order of the channels of pixels (H, W, 3).
            request_id: Id under which the server logs the call, 1 to 128 printable ASCII characters; None: its own.
            stream_id: Name of the camera that the picture is of, by which drift is told of cameras one by one; at most
                128 printable ASCII characters. Empty: none.
            **options: How detections are chosen, see DetectOptions.

        Raises:
            CallFailed: The call failed.
            OSError: The file cannot be read.
            TypeError: The picture is of none of the kinds.
            ValueError: The pixels have a wrong type or shape, or there is no such option, or no such stream_id can be.
        """
        input_wh = self._model_input_wh() if downscale else None
        return self._make(self._calls.of_stream(stream_id).detect(picture, color, input_wh, request_id, options))

    @contextmanager
    def stream(
        self,
        frames: Iterable[FrameT],
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
    ) -> Iterator[StreamAnswers[FrameT]]:
        """Finds the objects in a stream of frames, and follows them: the context manager of its answers.

        Every frame gets exactly one answer, in order. A frame that cannot be read, sent or looked at is answered with
        its error, and the stream goes on. When the server stops or the connection breaks, the stream goes on at
        whatever server answers next, with the same version of the model. It has a connection of its own.

        Args:
            frames: Pictures as `detect` takes them, or StreamFrames. Read by a thread of its own, no faster than mode
                and answers allow, and not any more once the context is left. What it raises is raised when all frames
                before are answered.
            mode: "latest" for live video: frames are read as they come, and a newer one takes the place of one that
                waits. "lossless" for recordings: every frame is looked at, and read only when there is room for it.
            max_frame_age_s: Age at which a frame that still waits, here or at the server, is dropped in mode "latest".
                Range [0.001, 60]. None: no limit.
            tracking: How objects keep their identity, see Detection.track_id; None: they have none.
            downscale: As of `detect`.
            color: As of `detect`.
            jpeg_quality: Quality at which pixels are sent as JPEG. Range [1, 100]. None: without compression.
            reconnect_timeout_s: Longest time without a server that gets on with the frames, in seconds, 0 or more; at
                the start, too.
            stream_id: As of `detect`.
            **options: How detections are chosen, see DetectOptions.

        Raises:
            CallFailed: No server takes the stream on, at the start or while its answers are read.
            TypeError: `frames` is one picture.
            ValueError: There is no such mode, quality, time, option or stream_id.
        """
        encoder = Encoder(color, jpeg_quality)
        protocol = self._calls.stream(frames, mode, max_frame_age_s, tracking, reconnect_timeout_s, options)
        answers = StreamAnswers(frames, protocol, encoder, self._calls.of_stream(stream_id), self._open_channel)
        try:
            ready = answers.open()
            if downscale:
                encoder.input_wh = self._make(self._calls.pinned(ready.model, ready.version).model_input_wh())
            answers.begin()
            yield answers
        finally:
            answers.close()

    def models(self) -> list[ModelVersion]:
        """All versions of all models that the server was asked to hold, sorted by model, then by version."""
        return self._make(self._calls.models())

    def health(self, service: str = "") -> str:
        """Status of a service, by the gRPC health protocol: "SERVING" or "NOT_SERVING".

        Args:
            service: Empty for the whole server, the full name of a service, or "models/<model>/versions/<version>".
        """
        return self._make(self._calls.health(service))

    def watch_health(self, service: str = "") -> Iterator[str]:
        """As `health`, now and at every change until the connection ends; "SERVICE_UNKNOWN" for an unknown service."""
        call = self._calls.health(service, watch=True)
        method = self._channel.unary_stream(call.method, type(call.request).SerializeToString, call.answer.FromString)
        answers = method(call.request, metadata=call.metadata)
        try:
            for answer in answers:
                yield call.read(answer)
        except grpc.RpcError as error:
            raise CallFailed.of(error) from error
        finally:
            answers.cancel()

    def _model_input_wh(self) -> tuple[int, int] | None:
        with self._input_wh_lock:
            if self._input_wh is None:
                self._input_wh = self._make(self._calls.model_input_wh())
            return self._input_wh

    def _make(self, call: Call[AnswerT, ResultT]) -> ResultT:
        method = self._channel.unary_unary(call.method, type(call.request).SerializeToString, call.answer.FromString)
        try:
            return call.read(method(call.request, timeout=self._timeout_s, metadata=call.metadata))
        except grpc.RpcError as error:
            raise CallFailed.of(error) from error
