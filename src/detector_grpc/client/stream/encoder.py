"""Frames as callers have them, made into messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector_grpc._gen.detector.v1 import stream_pb2
from detector_grpc.client.errors import CallFailed
from detector_grpc.client.pictures import image_message
from detector_grpc.client.stream.values import StreamFrame

if TYPE_CHECKING:
    from detector_grpc.client.pictures import Color, Picture
    from detector_grpc.client.stream.ledger import Entry
    from detector_grpc.client.stream.values import FrameT

_JPEG_QUALITIES = range(1, 101)


@dataclass
class Encoder:
    """Encodes the frames of one stream.

    Attributes:
        color: Order of the channels of pixels (H, W, 3).
        jpeg_quality: Quality at which pixels are sent as JPEG; None: without compression.
        input_wh: Size of the model's input to scale down to, in pixels; None: not scaled.

    Raises:
        ValueError: There is no such quality.
    """

    color: Color
    jpeg_quality: int | None
    input_wh: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.jpeg_quality not in (None, *_JPEG_QUALITIES):
            raise ValueError(f"the JPEG quality is in [1, 100], not {self.jpeg_quality}")

    def encode(self, entry: Entry[FrameT]) -> stream_pb2.StreamDetectRequest:
        """Makes the message of a frame; reads files.

        Raises:
            CallFailed: The frame cannot be sent; `__cause__` says why.
        """
        try:
            return stream_pb2.StreamDetectRequest(frame=self._message(entry.frame, entry.frame_id))
        except Exception as error:  # whatever is wrong with a frame is the answer to that frame
            raise CallFailed("INVALID_ARGUMENT", f"the frame cannot be sent: {error}") from error

    def _message(self, frame: Picture | StreamFrame, frame_id: int) -> stream_pb2.Frame:
        if not isinstance(frame, StreamFrame):
            frame = StreamFrame(frame)
        image, source_size = image_message(frame.picture, self.color, self.input_wh, self.jpeg_quality)
        message = stream_pb2.Frame(frame_id=frame_id, image=image, source_size=source_size)
        if frame.capture_time is not None:
            message.capture_time.FromNanoseconds(round(frame.capture_time * 1e9))
        return message
