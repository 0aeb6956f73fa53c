"""StreamDetect as bare as it comes: messages in, messages out."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any, Self

from detector_grpc._gen.detector.v1 import image_pb2, stream_pb2
from support.servers import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from detector_grpc._gen.detector.v1.stream_pb2 import FrameResult, StreamDetectResponse
    from support.calls import Client, Metadata

LATEST, LOSSLESS = stream_pb2.DELIVERY_MODE_LATEST, stream_pb2.DELIVERY_MODE_LOSSLESS


def config(mode: int = LOSSLESS, **fields: Any) -> stream_pb2.StreamDetectRequest:
    return stream_pb2.StreamDetectRequest(config=stream_pb2.StreamConfig(mode=mode, **fields))


def frame(frame_id: int, encoded: bytes, **fields: Any) -> stream_pb2.StreamDetectRequest:
    image = image_pb2.Image(encoded=encoded)
    return stream_pb2.StreamDetectRequest(frame=stream_pb2.Frame(frame_id=frame_id, image=image, **fields))


class Stream:
    """One stream; messages are sent when they are told, answers read when they are wanted."""

    def __init__(self, client: Client, metadata: Metadata = (), timeout_s: float = PATIENCE_S) -> None:
        self._outgoing: queue.SimpleQueue[stream_pb2.StreamDetectRequest | None] = queue.SimpleQueue()
        self.call = client.detector.StreamDetect(iter(self._outgoing.get, None), timeout=timeout_s, metadata=metadata)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.half_close()
        self.call.cancel()

    def send(self, *messages: stream_pb2.StreamDetectRequest) -> None:
        for message in messages:
            self._outgoing.put(message)

    def half_close(self) -> None:
        self._outgoing.put(None)

    def answer(self) -> StreamDetectResponse:
        """The next answer, whatever it is."""
        return next(self.call)

    def ready(self) -> stream_pb2.StreamReady:
        """The first answer."""
        answer = self.answer()
        assert answer.WhichOneof("message") == "ready"
        return answer.ready

    def result(self) -> FrameResult:
        """The next answer to a frame; heartbeats are passed over."""
        while (answer := self.answer()).WhichOneof("message") == "heartbeat":
            pass
        assert answer.WhichOneof("message") == "result", answer
        return answer.result

    def results(self) -> Iterator[FrameResult]:
        """All answers to frames until the stream ends."""
        for answer in self.call:
            if answer.WhichOneof("message") == "result":
                yield answer.result
