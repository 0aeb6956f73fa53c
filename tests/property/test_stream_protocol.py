"""Exactly one answer per frame, in order, whatever servers, connections, encoders and the caller do meanwhile."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from detector_grpc._gen.detector.v1 import detection_pb2, stream_pb2
from detector_grpc.client import CallFailed, StreamFrame
from detector_grpc.client.stream.ledger import ENCODED_AHEAD, MOST_HELD, FrameLedger
from detector_grpc.client.stream.messages import config_message
from detector_grpc.client.stream.outage import Outage
from detector_grpc.client.stream.protocol import Encode, HalfClose, Send, StreamProtocol
from detector_grpc.client.stream.updates import Options

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from detector_grpc.client import StreamAnswer
    from detector_grpc.client.stream.ledger import Entry
    from detector_grpc.client.stream.protocol import Step
    from detector_grpc.client.stream.values import Mode

    Event: TypeAlias = Callable[["Play"], None]

CREDIT = 3
BROKEN = CallFailed("UNAVAILABLE", "connection reset")
TOKEN_INVALID = CallFailed("INVALID_ARGUMENT", "not mine", "RESUME_TOKEN_INVALID")
NO_PICTURE = CallFailed("INVALID_ARGUMENT", "no picture")


class Server:
    """The other end of one call: takes frames from the wire, and answers them in order."""

    def __init__(self, config: stream_pb2.StreamConfig, last_frame_id: int) -> None:
        self.config = config
        self.accepted = False
        self.half_closed = False
        self.token = ""
        self.wire: deque[stream_pb2.StreamDetectRequest] = deque()
        self.taken: deque[int] = deque()
        self.last_frame_id = last_frame_id


class Play:
    """All parts but the protocol; what cannot happen now does not happen. Keeps a diary, as plainly as can be."""

    def __init__(self, mode: Mode, max_age_s: float | None) -> None:
        self.mode, self.now = mode, 0.0
        self.ledger = FrameLedger[StreamFrame](mode, max_age_s)
        self.protocol = StreamProtocol[StreamFrame](
            config_message("", "", mode, max_age_s, None), Options({}), self.ledger, Outage(1e9, lambda: 0.5)
        )
        self.server: Server | None = None
        self.encoding: Entry[StreamFrame] | None = None
        self.late: list[Entry[StreamFrame]] = []
        self.given: list[StreamFrame] = []
        self.read: list[StreamAnswer[StreamFrame]] = []
        self.unsendable: set[int] = set()
        self.answered_by_servers: set[int] = set()
        self.tokens: dict[str, int] = {}
        self.next_token = ""  # that the next call is to have
        self.changes: list[int] = []
        self.changes_seen: list[int] = []

    # -- source and caller

    def source_has_a_frame(self) -> None:
        if self.protocol.wants_more and not self.protocol.over:
            self.given.append(StreamFrame(b"", capture_time=len(self.given)))
            self.protocol.add(self.given[-1], self.now)

    def caller_reads(self) -> None:
        if (answer := self.protocol.read()) is not None:
            self.read.append(answer)

    def caller_changes_options(self) -> None:
        self.changes.append(1 + len(self.changes))
        self.protocol.update({"max_detections": self.changes[-1]})

    def time_passes(self) -> None:
        self.now += 2.0

    # -- the shell

    def call_begins(self) -> None:
        if self.server is None and not self.protocol.over:
            self.now = max(self.now, self.protocol.connect_at)
            config = self.protocol.connect(self.now).config
            assert config.resume_token == self.next_token
            assert config.version == ("v2" if self.protocol.ready else "")
            self.server = Server(config, self.tokens.get(config.resume_token, 0))

    def sender_goes_on(self) -> None:
        if self.encoding is None and (step := self.next_step()) is not None:
            self.take(step)

    def next_step(self) -> Step[StreamFrame] | None:
        if self.server is None or self.server.half_closed:
            return None
        step = self.protocol.next_step(self.now)
        assert step is not None or self.protocol.next_step(self.now) is None  # who is told to wait has nothing to do
        return step

    def take(self, step: Step[StreamFrame]) -> None:
        assert self.server is not None
        assert self.server.accepted
        match step:
            case Send(message):
                assert not self.server.token
                self.server.wire.append(message)
            case Encode(entry):
                self.encoding = entry
            case HalfClose():
                self.server.half_closed = True

    def frame_is_encoded(self) -> None:
        if self.encoding is not None:
            self.conclude(self.encoding)
            self.encoding = None

    def frame_cannot_be_encoded(self) -> None:
        if self.encoding is not None:
            self.unsendable.add(self.encoding.frame_id)
            self.protocol.refused(self.encoding, NO_PICTURE, self.now)
            self.encoding = None

    def frame_is_encoded_for_a_call_that_is_gone(self) -> None:
        if self.late:
            self.conclude(self.late.pop())

    def frame_cannot_be_encoded_for_a_call_that_is_gone(self) -> None:
        if self.late:
            entry = self.late.pop()
            if entry.message is None:  # else it was encoded for a later call
                self.unsendable.add(entry.frame_id)
            self.protocol.refused(entry, NO_PICTURE, self.now)

    def conclude(self, entry: Entry[StreamFrame]) -> None:
        frame = stream_pb2.Frame(frame_id=entry.frame_id)
        self.protocol.encoded(entry, stream_pb2.StreamDetectRequest(frame=frame))

    # -- servers

    def says(self, **message: object) -> None:
        self.protocol.receive(stream_pb2.StreamDetectResponse(**message), self.now)

    def server_takes_the_stream(self) -> None:
        if self.server and not self.server.accepted:
            self.server.accepted, self.next_token = True, ""
            ready = stream_pb2.StreamReady(
                model="m",
                version="v2",
                options=self.server.config.options,
                max_frames_in_flight=CREDIT,
                max_frame_bytes=1000,
                heartbeat_interval_ms=1000,
            )
            self.says(ready=ready)

    def server_has_another_key(self) -> None:
        if self.server and not self.server.accepted and self.server.config.resume_token:
            self.next_token = ""
            self.call_ends(TOKEN_INVALID)

    def server_reads(self) -> None:
        server = self.server
        if server is None or not server.wire or server.token:
            return
        message = server.wire.popleft()
        if message.HasField("update"):
            self.changes_seen.append(message.update.options.max_detections)
            self.says(updated=stream_pb2.StreamUpdated(options=message.update.options))
            return
        frame_id = message.frame.frame_id
        assert frame_id > server.last_frame_id
        assert frame_id not in self.answered_by_servers
        server.last_frame_id = frame_id
        server.taken.append(frame_id)
        assert len(server.taken) <= CREDIT

    def server_detects(self) -> None:
        if self.server and self.server.taken:
            found = [detection_pb2.Detection(class_id=self.server.taken[0])]
            self.server_answers(detections=stream_pb2.FrameDetections(detections=found))

    def server_drops(self) -> None:
        if self.server and self.server.taken and self.mode == "latest":
            self.server_answers(dropped=stream_pb2.Dropped(reason=stream_pb2.DROP_REASON_OVERLOAD))

    def server_finds_a_frame_broken(self) -> None:
        if self.server and self.server.taken:
            self.server_answers(error={"code": 3})

    def server_answers(self, **outcome: object) -> None:
        assert self.server is not None
        result = stream_pb2.FrameResult(frame_id=self.server.taken.popleft(), **outcome)
        self.answered_by_servers.add(result.frame_id)
        self.says(result=result)

    def server_drains(self) -> None:
        if self.server and self.server.accepted and not self.server.token:
            self.server.token = f"token {len(self.tokens)}"
            self.tokens[self.server.token] = self.server.last_frame_id
            drain = stream_pb2.Drain(resume_token=self.server.token, last_frame_id=self.server.last_frame_id)
            self.says(drain=drain)

    def server_is_alive(self) -> None:
        if self.server and self.server.accepted:
            self.says(heartbeat=stream_pb2.Heartbeat())

    def server_has_nothing_left(self) -> None:
        server = self.server
        if server and not server.taken and (server.token or (server.half_closed and not server.wire)):
            self.call_ends(None)

    def connection_breaks(self) -> None:
        if self.server:
            self.call_ends(BROKEN)

    def call_ends(self, failure: CallFailed | None) -> None:
        assert self.server is not None
        if self.server.token and not self.server.taken:
            self.next_token = self.server.token
        if self.encoding is not None:
            self.late.append(self.encoding)
            self.encoding = None
        self.server = None
        self.protocol.end_call(failure, self.now)
        if self.mode == "latest":  # all but the newest frame have their answer
            unanswered = [entry for entry in self.ledger._held if entry.answer is None]
            assert unanswered == [entry for entry in [*self.ledger._held][-1:] if entry.answer is None]

    # -- what must hold

    def check(self) -> None:
        for number, (answer, frame) in enumerate(zip(self.read, self.given, strict=False), 1):
            assert answer.frame is frame
            assert (answer.frame_id, answer.capture_time) == (number, number - 1)
            assert [answer.result, answer.dropped, answer.error].count(None) == 2
            assert answer.result is None or answer.result.class_id.tolist() == [number]
            assert answer.error is None or number in self.unsendable | self.answered_by_servers
            assert answer.dropped is None or self.mode == "latest"
        assert len(self.given) - len(self.read) <= (MOST_HELD if self.mode == "latest" else CREDIT + ENCODED_AHEAD)
        assert self.protocol.failure is None

    def goes_on_without_trouble(self) -> None:
        """Whatever the state, all comes to an end if nothing more happens to it."""
        self.protocol.end_source()
        while not self.protocol.over:
            self.call_begins()
            self.server_takes_the_stream()
            self.sender_goes_on()
            self.frame_is_encoded()
            self.server_reads()
            self.server_detects()
            self.server_has_nothing_left()
            self.caller_reads()
        for _ in self.given:
            self.caller_reads()


UNUSUAL = (
    Play.time_passes,
    Play.caller_changes_options,
    Play.sender_goes_on,
    Play.frame_cannot_be_encoded,
    Play.frame_is_encoded_for_a_call_that_is_gone,
    Play.frame_cannot_be_encoded_for_a_call_that_is_gone,
    Play.server_drops,
    Play.server_finds_a_frame_broken,
    Play.server_is_alive,
    Play.server_has_another_key,
)
ENDS = (
    [Play.connection_breaks],
    [Play.source_has_a_frame, Play.sender_goes_on, Play.connection_breaks],
    [Play.server_drains],
    [Play.server_drains, Play.connection_breaks],
    [Play.server_has_nothing_left],
)


def some(*events: Event) -> st.SearchStrategy[list[Event]]:
    """A few rounds of events, so that more comes about than by chance alone."""
    return st.integers(1, 4).map(lambda rounds: [*events] * rounds)


SCENES = st.one_of(
    some(Play.call_begins, Play.server_takes_the_stream),
    some(Play.source_has_a_frame, Play.sender_goes_on, Play.frame_is_encoded, Play.sender_goes_on),
    some(Play.sender_goes_on, Play.frame_is_encoded),
    some(Play.server_reads),
    some(Play.server_reads, Play.server_detects),
    some(Play.caller_reads),
    st.sampled_from(UNUSUAL).map(lambda event: [event]),
    st.sampled_from(ENDS),
)


@given(
    mode=st.sampled_from(["latest", "lossless"]),
    max_age_s=st.sampled_from([None, 5.0]),
    scenes=st.lists(SCENES, min_size=30, max_size=80),
)
def test_every_frame_gets_exactly_one_answer_in_order(
    mode: Mode, max_age_s: float | None, scenes: list[list[Event]]
) -> None:
    play = Play(mode, max_age_s)
    for event in (event for scene in scenes for event in scene):
        event(play)
        play.check()
    play.goes_on_without_trouble()
    play.check()
    assert len(play.read) == len(play.given)
    assert list(dict.fromkeys(play.changes_seen)) == play.changes[: len(set(play.changes_seen))]
