"""The blocking stream: threads around the protocol.

One thread makes the calls, one after the other, and watches each; one reads what is answered; one reads the source; and
gRPC has one that asks for what to send. They and the caller's own share the protocol under one condition.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic

import grpc

from detector_grpc._gen.detector.v1 import stream_pb2
from detector_grpc.client.calls import STREAM_DETECT
from detector_grpc.client.errors import CallFailed
from detector_grpc.client.stream.protocol import Encode, HalfClose, Send
from detector_grpc.client.stream.values import SOURCE_PATIENCE_S, FrameT, StreamAnswer, StreamReady

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self, Unpack

    from detector_grpc.client.calls import Calls
    from detector_grpc.client.options import DetectOptions
    from detector_grpc.client.stream.encoder import Encoder
    from detector_grpc.client.stream.ledger import Entry
    from detector_grpc.client.stream.protocol import Step, StreamProtocol

# Shortest and longest wait for a change; threading cannot wait for ever by a number.
_SHORTEST_WAIT_S = 0.1
_LONGEST_WAIT_S = 3600.0


class _Call:
    """One call: whether it is over, and how it failed if it did."""

    def __init__(self) -> None:
        self.over = False
        self.failure: CallFailed | None = None

    def end(self, failure: CallFailed | None) -> None:
        """Says how it ended; who says it first is right."""
        if not self.over:
            self.over, self.failure = True, failure


class StreamAnswers(Generic[FrameT]):
    """The answers of a stream, one for every frame, in the order of the frames. Made by Detector.stream."""

    def __init__(
        self,
        frames: Iterable[FrameT],
        protocol: StreamProtocol[FrameT],
        encoder: Encoder,
        calls: Calls,
        open_channel: Callable[[], grpc.Channel],
    ) -> None:
        self._frames = frames
        self._protocol = protocol
        self._encoder = encoder
        self._open_channel = open_channel
        self._calls = calls
        self._changed = threading.Condition()
        self._closed = False
        self._caller = threading.Thread(target=self._make_calls, name="stream-calls", daemon=True)
        self._source = threading.Thread(target=self._read_source, name="stream-source", daemon=True)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamAnswer[FrameT]:
        with self._changed:
            while self._closed or (answer := self._protocol.read()) is None:
                if self._over:
                    raise StopIteration if self._protocol.failure is None else self._protocol.failure
                self._changed.wait()
            self._changed.notify_all()  # there is room for another frame
            return answer

    @property
    def ready(self) -> StreamReady:
        """Who answers the frames that are sent now, and how."""
        if self._protocol.ready is None:
            raise RuntimeError("no server has taken the stream on yet")
        return self._protocol.ready

    def update(self, **options: Unpack[DetectOptions]) -> DetectOptions:
        """Changes options for the frames that are not sent yet; those that are left out stay as they are.

        Waits until the server has agreed, and returns all options that hold then. Without effect if no frames are left
        to be sent.

        Raises:
            CallFailed: The server refuses the change, and goes on as before; or the stream has failed.
            ValueError: There is no such option.
        """
        with self._changed:
            update = self._protocol.update(options)
            self._changed.notify_all()
            self._changed.wait_for(lambda: update.done or self._over)
            if (failure := update.refusal or self._protocol.failure) is not None:
                raise failure
            return self.ready.options

    def open(self) -> StreamReady:
        """Waits until a server has taken the stream on."""
        self._caller.start()
        with self._changed:
            self._changed.wait_for(lambda: self._protocol.ready is not None or self._over)
            if self._protocol.failure is not None:
                raise self._protocol.failure
            return self.ready

    def begin(self) -> None:
        """Begins to read the source."""
        self._source.start()

    def close(self) -> None:
        """Ends everything; what is not answered remains so."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._caller.join()
        if self._source.ident is not None:
            self._source.join(SOURCE_PATIENCE_S)
        self._frames = ()  # a generator that nobody else holds ends with this, and releases its camera

    @property
    def _over(self) -> bool:
        return self._closed or self._protocol.over

    def _make_calls(self) -> None:
        failure: BaseException | None = None
        try:
            while (first := self._next_call()) is not None:
                with self._open_channel() as channel:
                    call_failure = self._make_call(channel, first)
                with self._changed:
                    self._protocol.end_call(call_failure, time.monotonic())
                    self._changed.notify_all()
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller waits for it
            failure = error
        with self._changed:
            if failure is not None:
                self._protocol.finish(failure)
            self._changed.notify_all()

    def _next_call(self) -> stream_pb2.StreamDetectRequest | None:
        """Waits until it is time for a call; its first message, or None where there is to be none."""
        with self._changed:
            while not self._over:
                now = time.monotonic()
                if now >= self._protocol.connect_at:
                    return self._protocol.connect(now)
                self._changed.wait(self._protocol.connect_at - now)
            return None

    def _make_call(self, channel: grpc.Channel, first: stream_pb2.StreamDetectRequest) -> CallFailed | None:
        """Makes a call, and waits until it has ended or its server is lost; returns how it failed."""
        call = _Call()
        method = channel.stream_stream(
            STREAM_DETECT,
            stream_pb2.StreamDetectRequest.SerializeToString,
            stream_pb2.StreamDetectResponse.FromString,
        )
        answers = method(
            self._requests(first, call), metadata=self._calls.pinned(*self._protocol.model_version).metadata()
        )
        reader = threading.Thread(target=self._read_answers, args=(answers, call), name="stream-answers", daemon=True)
        reader.start()
        with self._changed:
            while not call.over and not self._closed:
                wait_s = self._protocol.silent_at - time.monotonic()
                # Never without a look at what has come: this process may have been stopped itself.
                changed = self._changed.wait(min(max(wait_s, _SHORTEST_WAIT_S), _LONGEST_WAIT_S))
                if not changed and (now := time.monotonic()) >= self._protocol.silent_at:
                    call.end(self._protocol.silence(now))
            call.end(None)
            self._changed.notify_all()  # the sender is to stop
        answers.cancel()
        reader.join()
        return call.failure

    def _read_answers(self, answers: Iterator[stream_pb2.StreamDetectResponse], call: _Call) -> None:
        failure: CallFailed | None = None
        try:
            for message in answers:
                with self._changed:
                    if call.over:
                        break
                    self._protocol.receive(message, time.monotonic())
                    self._changed.notify_all()
        except grpc.RpcError as error:
            failure = CallFailed.of(error)
        except CallFailed as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller waits for it
            with self._changed:
                self._protocol.finish(error)
        with self._changed:
            call.end(failure)
            self._changed.notify_all()

    def _requests(self, first: stream_pb2.StreamDetectRequest, call: _Call) -> Iterator[stream_pb2.StreamDetectRequest]:
        yield first
        while True:
            match self._next_step(call):
                case Send(message):
                    yield message
                case Encode(entry):
                    self._encode(entry)
                case HalfClose():
                    return

    def _next_step(self, call: _Call) -> Step[FrameT]:
        with self._changed:
            while not call.over:
                step = self._protocol.next_step(time.monotonic())
                self._changed.notify_all()  # frames may have been dropped or refused on the way
                if step is not None:
                    return step
                self._changed.wait()
        return HalfClose()

    def _encode(self, entry: Entry[FrameT]) -> None:
        try:
            message = self._encoder.encode(entry)
        except CallFailed as error:
            with self._changed:
                self._protocol.refused(entry, error, time.monotonic())
                self._changed.notify_all()
        else:
            with self._changed:
                self._protocol.encoded(entry, message)

    def _read_source(self) -> None:
        failure: BaseException | None = None
        try:
            frames = iter(self._frames)
            while self._wait_for_room():
                frame = next(frames)
                with self._changed:
                    self._protocol.add(frame, time.monotonic())
                    self._changed.notify_all()
        except StopIteration:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller is told
            failure = error
        with self._changed:
            self._protocol.end_source(failure)
            self._changed.notify_all()

    def _wait_for_room(self) -> bool:
        """Waits until the source is to be read; False if it is not to be read any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._protocol.wants_more)
            return not self._over
