"""Copies of calls: sent to another version through the gateway, marked as what they are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from detector_grpc import headers
from detector_grpc._gen.detector.v1 import detection_pb2, detector_service_pb2, image_pb2
from detector_grpc._gen.detector.v1.detector_service_pb2_grpc import DetectorServiceStub
from detector_grpc.rpc.convert import PIXEL_FORMATS
from detector_grpc.serving.copies import Seen
from detector_grpc.serving.pipeline import EncodedImage
from detector_grpc.vision.agreement import Labelled

if TYPE_CHECKING:
    import grpc.aio

    from detector_grpc.serving.copies import CopyMarks
    from detector_grpc.serving.options import RequestedOptions
    from detector_grpc.serving.pipeline import Image, PictureRequest


class CopySender:
    """Sends copies.

    Args:
        channel: To the gateway; closed with this.
        marks: Makes the mark that says what they are.
        timeout_s: Seconds that an answer may take.
        token: Bearer token; None for none.
    """

    def __init__(self, channel: grpc.aio.Channel, marks: CopyMarks, timeout_s: float, token: str | None) -> None:
        self._channel = channel
        self._stub = DetectorServiceStub(channel)
        self._marks = marks
        self._timeout_s = timeout_s
        self._credentials = ((headers.AUTHORIZATION, f"Bearer {token}"),) if token else ()

    async def send(self, request: PictureRequest, model: str, version: str, request_id: str) -> Seen:
        """Has a version look at a picture.

        Raises:
            grpc.aio.AioRpcError: It does not answer.
        """
        # A large picture is copied on the way into the message.
        message = await asyncio.to_thread(_message, request, model, version)
        metadata = (
            (headers.PINNED_VERSION, version),
            (headers.COPY_OF, self._marks.make(request_id)),
            *self._credentials,
        )
        answer = await self._stub.Detect(message, timeout=self._timeout_s, metadata=metadata)
        boxes = [(box.x_min, box.y_min, box.x_max, box.y_max) for box in (each.bbox for each in answer.detections)]
        timing = answer.timing
        taken_ms = timing.decode_ms + timing.preprocess_ms + timing.inference_ms + timing.postprocess_ms
        names = [each.class_name for each in answer.detections]
        found = Labelled(np.array(boxes, np.float32).reshape(-1, 4), names)
        return Seen(found, answer.model_digest, taken_ms / 1e3)

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()


def _message(request: PictureRequest, model: str, version: str) -> detector_service_pb2.DetectRequest:
    message = detector_service_pb2.DetectRequest(
        image=_image(request.image), model=model, version=version, options=_options(request.options)
    )
    if request.source_wh is not None:
        width, height = request.source_wh
        message.source_size.CopyFrom(image_pb2.ImageSize(width=width, height=height))
    return message


def _image(image: Image) -> image_pb2.Image:
    if isinstance(image, EncodedImage):
        return image_pb2.Image(encoded=image.data)
    formats = {name: number for number, name in PIXEL_FORMATS.items()}
    raw = image_pb2.RawImage(
        data=image.data,
        size=image_pb2.ImageSize(width=image.width, height=image.height),
        format=formats[image.pixel_format],
    )
    return image_pb2.Image(raw=raw)


def _options(options: RequestedOptions) -> detection_pb2.DetectOptions:
    """The options as their caller asked for them: what was left open is the other version's to decide, too."""
    return detection_pb2.DetectOptions(**{name: value for name, value in vars(options).items() if value is not None})
