"""The conversation of one stream with its servers, without any I/O: the shells carry messages and wait, nothing else.

A stream is a row of calls. Each begins with a config and ends when a server drains, a connection breaks or all is done:

    connecting ──ready──► open ──drain──► draining
        ▲                  │                 │
        └──────────────────┴─────────────────┘  the call ended, and not all is done

After a drain the next call has the token of the drain; after a break it begins a new stream of the same model and
version. Frames that were sent and are not answered are sent again; the ledger knows them. A token is used only when all
that the drained server took is answered, because with it those frames could not be sent again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Generic, TypeAlias

from detector_grpc._gen.detector.v1 import stream_pb2
from detector_grpc.client.errors import CallFailed
from detector_grpc.client.options import options_of
from detector_grpc.client.stream.messages import outcome_of, ready_of, too_large
from detector_grpc.client.stream.outage import is_passing
from detector_grpc.client.stream.track_ids import TrackIds
from detector_grpc.client.stream.values import FrameT

if TYPE_CHECKING:
    from detector_grpc.client.options import DetectOptions
    from detector_grpc.client.stream.ledger import Entry, FrameLedger
    from detector_grpc.client.stream.outage import Outage
    from detector_grpc.client.stream.updates import Options, Update
    from detector_grpc.client.stream.values import StreamAnswer, StreamReady

# A server that is silent for so many heartbeat intervals is lost.
MISSED_HEARTBEATS = 3

_TOKEN_REFUSED = frozenset({"RESUME_TOKEN_INVALID", "RESUME_TOKEN_EXPIRED"})


@dataclass(frozen=True)
class Encode(Generic[FrameT]):
    """The sender is to encode this frame, and to say `encoded` or `refused`."""

    entry: Entry[FrameT]


@dataclass(frozen=True)
class Send:
    """The sender is to send this."""

    message: stream_pb2.StreamDetectRequest


@dataclass(frozen=True)
class HalfClose:
    """The sender is to say that nothing more comes on this call."""


Step: TypeAlias = Encode[FrameT] | Send | HalfClose


class _Phase(Enum):
    CONNECTING = auto()
    OPEN = auto()
    DRAINING = auto()


class StreamProtocol(Generic[FrameT]):
    """One stream. Not safe for threads; times are seconds of one monotonic clock.

    Args:
        config: How to treat the stream; without options, and without a token.
        options: How detections are chosen.
        ledger: The frames.
        outage: When to try again.

    Attributes:
        ready: What the server of now said, or the last one; None before there was any.
        connect_at: When to begin the next call.
        over: Whether nothing more is to be done.
        failure: What the stream ended with; None if all went well, or it has not ended.
    """

    def __init__(
        self, config: stream_pb2.StreamConfig, options: Options, ledger: FrameLedger[FrameT], outage: Outage
    ) -> None:
        self.ready: StreamReady | None = None
        self.connect_at = -math.inf
        self.over = False
        self.failure: BaseException | None = None
        self._config = config
        self._options = options
        self._ledger = ledger
        self._outage = outage
        self._track_ids = TrackIds()
        self._phase = _Phase.CONNECTING
        self._token = ""
        self._drain: stream_pb2.Drain | None = None
        self._heard_at = -math.inf
        self._source_ended = False
        self._source_failure: BaseException | None = None

    @property
    def model_version(self) -> tuple[str, str]:
        """Model and version to ask for: the caller's, and once a server has taken the stream on, those that answer."""
        return self._config.model, self._config.version

    @property
    def wants_more(self) -> bool:
        """Whether the source is to be asked for another frame."""
        return self._ledger.wants_more and not self._source_ended

    @property
    def silent_at(self) -> float:
        """When the server of now is lost if it says nothing until then."""
        if self._phase is _Phase.CONNECTING or self.ready is None:
            return self._outage.ends_at
        return self._heard_at + MISSED_HEARTBEATS * self.ready.heartbeat_interval_s

    def add(self, frame: FrameT, now: float) -> None:
        """Takes a frame from the source."""
        self._ledger.add(frame, now)

    def end_source(self, failure: BaseException | None = None) -> None:
        """Says that the source has no more frames, or failed; the caller is told when all are answered."""
        self._source_ended, self._source_failure = True, failure

    def read(self) -> StreamAnswer[FrameT] | None:
        """The next answer for the caller, if it is there."""
        return self._ledger.read()

    def update(self, changes: DetectOptions) -> Update:
        """Changes the options from the next frame on.

        Raises:
            ValueError: There is no such option.
        """
        return self._options.change(changes)

    def connect(self, now: float) -> stream_pb2.StreamDetectRequest:
        """Begins a call; returns the first message to send."""
        self._outage.begin(now)
        config = stream_pb2.StreamConfig()
        config.CopyFrom(self._config)
        config.options.CopyFrom(self._options.message())
        config.resume_token = self._token
        return stream_pb2.StreamDetectRequest(config=config)

    def next_step(self, now: float) -> Step[FrameT] | None:
        """What the sender is to do now; None to wait."""
        if self._phase is _Phase.DRAINING:
            return HalfClose()
        # Until an update is answered no frame is sent, so that it is known which frames it applies to.
        if self._phase is _Phase.CONNECTING or self._options.under_way:
            return None
        if (options := self._options.next_change()) is not None:
            return Send(stream_pb2.StreamDetectRequest(update=stream_pb2.StreamUpdate(options=options)))
        while (message := self._next_frame(now)) is None:
            if (entry := self._ledger.take(now)) is None:
                return HalfClose() if self._source_ended and self._ledger.all_sent else None
            if entry.message is None:
                return Encode(entry)
        return Send(message)

    def encoded(self, entry: Entry[FrameT], message: stream_pb2.StreamDetectRequest) -> None:
        """Says how a frame is sent."""
        self._ledger.encoded(entry, message)

    def refused(self, entry: Entry[FrameT], error: CallFailed, now: float) -> None:
        """Says that a frame cannot be encoded; one that was for a later call may have been sent, and goes on."""
        if entry.message is None:
            self._ledger.refuse(entry, now, error)

    def receive(self, message: stream_pb2.StreamDetectResponse, now: float) -> None:
        """Takes a message of the server.

        Raises:
            CallFailed: The contract does not allow the message here.
        """
        self._heard_at = now
        kind = message.WhichOneof("message")
        if (kind == "ready") != (self._phase is _Phase.CONNECTING):
            raise _unexpected(f'"{kind}"')
        match kind:
            case "ready":
                self._open(message.ready)
            case "result":
                self._answer(message.result, now)
            case "drain":
                self._drain, self._phase = message.drain, _Phase.DRAINING
            case "updated":
                self._conclude_update(message.updated)
            case "heartbeat" if self._ledger.first_unanswered is None:
                self._outage.end()

    def silence(self, now: float) -> CallFailed:
        """What a call ends with whose server is lost."""
        if self._phase is _Phase.CONNECTING:
            return CallFailed("UNAVAILABLE", "no server took the stream on in time")
        return CallFailed("UNAVAILABLE", f"the server was silent for {now - self._heard_at:.1f} s")

    def end_call(self, failure: CallFailed | None, now: float) -> None:
        """Says how the call ended; afterwards the stream is over, or the next call is to begin at `connect_at`."""
        token_refused = failure is not None and failure.reason in _TOKEN_REFUSED and self._token != ""
        if self._phase is not _Phase.CONNECTING or token_refused:
            self._token = self._earned_token()
        moves = self._drain is not None or token_refused
        self._phase, self._drain, self._options.under_way = _Phase.CONNECTING, None, False
        self._ledger.take_back(now)
        if self._source_ended and self._ledger.all_answered:
            self.finish(self._source_failure)
        elif failure is None or moves or is_passing(failure):
            try:
                self.connect_at = self._outage.next_try_at(None if moves else failure, now)
            except CallFailed as last:
                self.finish(last)
        else:
            self.finish(failure)

    def finish(self, failure: BaseException | None) -> None:
        """Ends the stream, with a failure or without."""
        self.over, self.failure = True, failure

    def _open(self, message: stream_pb2.StreamReady) -> None:
        if not self._token:
            self._track_ids.begin_anew()
        self._phase, self._token = _Phase.OPEN, ""
        self._config.model, self._config.version = message.model, message.version
        self._ledger.credit = message.max_frames_in_flight
        self.ready = ready_of(message)

    def _next_frame(self, now: float) -> stream_pb2.StreamDetectRequest | None:
        while self.ready is not None and (turn := self._ledger.next_to_send()) is not None:
            entry, message = turn
            size_bytes, max_bytes = message.ByteSize(), self.ready.max_frame_bytes
            if size_bytes <= max_bytes:
                self._ledger.sent(self.ready)
                return message
            self._ledger.refuse(entry, now, too_large(size_bytes, max_bytes))
        return None

    def _answer(self, message: stream_pb2.FrameResult, now: float) -> None:
        entry = self._ledger.first_unanswered
        if entry is None or entry.ready is None or entry.frame_id != message.frame_id:
            raise _unexpected(f"an answer to frame {message.frame_id}")
        self._track_ids.shift(message.detections.detections)
        self._ledger.answered(now, **outcome_of(message, entry.ready))
        self._outage.end()

    def _conclude_update(self, message: stream_pb2.StreamUpdated) -> None:
        if not self._options.under_way or self.ready is None:
            raise _unexpected('"updated"')
        if message.HasField("error"):
            self._options.conclude(CallFailed.of_status(message.error, self.ready.request_id))
        else:
            self._options.conclude(None)
            self.ready = replace(self.ready, options=options_of(message.options))

    def _earned_token(self) -> str:
        """The token of the drain, if all that the server took is answered."""
        entry = self._ledger.first_unanswered
        if self._drain is None or (entry is not None and entry.frame_id <= self._drain.last_frame_id):
            return ""
        return self._drain.resume_token


def _unexpected(what: str) -> CallFailed:
    return CallFailed("INTERNAL", f"the server sent {what}, which the contract does not allow here")
