"""What the stream of the SDK does when something happens, without any wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from detector_grpc._gen.detector.v1 import detection_pb2, stream_pb2
from detector_grpc.client import CallFailed, StreamFrame, Tracking
from detector_grpc.client.stream.ledger import ENCODED_AHEAD, MOST_HELD, FrameLedger
from detector_grpc.client.stream.messages import config_message
from detector_grpc.client.stream.outage import FIRST_WAIT_S, Outage
from detector_grpc.client.stream.protocol import Encode, HalfClose, Send, StreamProtocol
from detector_grpc.client.stream.updates import Options

if TYPE_CHECKING:
    from detector_grpc.client import DetectOptions, StreamAnswer
    from detector_grpc.client.stream.values import Mode

TIMEOUT_S = 30.0
DOWN = CallFailed("UNAVAILABLE", "connection refused")


class Stream:
    """A protocol with a clock, and both of its sides by hand."""

    def __init__(
        self,
        mode: Mode = "lossless",
        *,
        max_age_s: float | None = None,
        options: DetectOptions | None = None,
        tracking: Tracking | None = None,
    ) -> None:
        self.now = 0.0
        config = config_message("codes", "", mode, max_age_s, tracking)
        self.protocol = StreamProtocol[StreamFrame](
            config, Options(options or {}), FrameLedger(mode, max_age_s), Outage(TIMEOUT_S, lambda: 1.0)
        )

    def connect(self) -> stream_pb2.StreamConfig:
        return self.protocol.connect(self.now).config

    def open(self, *, credit: int = 8, max_frame_bytes: int = 1000) -> stream_pb2.StreamConfig:
        config = self.connect()
        ready = stream_pb2.StreamReady(
            model="codes",
            version="v2",
            options=config.options,
            max_frames_in_flight=credit,
            max_frame_bytes=max_frame_bytes,
            heartbeat_interval_ms=2000,
        )
        self.says(ready=ready)
        return config

    def says(self, **message: object) -> None:
        self.protocol.receive(stream_pb2.StreamDetectResponse(**message), self.now)

    def detects(self, frame_id: int, *track_ids: int) -> None:
        found = [detection_pb2.Detection(class_id=frame_id, track_id=track_id) for track_id in track_ids]
        self.says(result={"frame_id": frame_id, "detections": {"detections": found}})

    def drains(self, last_frame_id: int) -> None:
        self.says(drain=stream_pb2.Drain(resume_token="token", last_frame_id=last_frame_id))  # noqa: S106

    def give(self, count: int = 1) -> None:
        for _ in range(count):
            self.protocol.add(StreamFrame(b""), self.now)

    def sent(self, size_bytes: int = 0) -> list[str]:
        """What the sender sends until it has to wait: ids of frames, "update", "half-close"."""
        sent: list[str] = []
        while "half-close" not in sent and (step := self.protocol.next_step(self.now)) is not None:
            match step:
                case Encode(entry):
                    frame = stream_pb2.Frame(frame_id=entry.frame_id, image={"encoded": bytes(size_bytes)})
                    self.protocol.encoded(entry, stream_pb2.StreamDetectRequest(frame=frame))
                case Send(message):
                    sent.append(str(message.frame.frame_id) if message.HasField("frame") else "update")
                case HalfClose():
                    sent.append("half-close")
        return sent

    def answers(self) -> list[StreamAnswer[StreamFrame]]:
        return list(iter(self.protocol.read, None))

    def ends(self, failure: CallFailed | None = None) -> None:
        self.protocol.end_call(failure, self.now)


class TestConfig:
    def test_says_everything_that_the_caller_asked_for(self) -> None:
        stream = Stream(
            "latest",
            max_age_s=0.0015,
            options={"confidence_threshold": 0.5},
            tracking=Tracking(max_lost_frames=7),
        )
        config = stream.connect()
        assert (config.model, config.version, config.resume_token) == ("codes", "", "")
        assert config.mode == stream_pb2.DELIVERY_MODE_LATEST
        assert config.max_frame_age_ms == 2
        assert config.options.confidence_threshold == 0.5
        assert config.tracking.max_lost_frames == 7
        assert not config.tracking.HasField("min_confidence")

    def test_of_every_further_call_asks_for_the_version_that_answered(self) -> None:
        stream = Stream()
        stream.open()
        stream.ends(DOWN)
        assert stream.connect().version == "v2"
        assert stream.protocol.model_version == ("codes", "v2")

    @pytest.mark.parametrize(("mode", "options"), [("newest", {}), ("latest", {"confidense": 1})])
    def test_of_what_there_is_not_is_refused(self, mode: Mode, options: DetectOptions) -> None:
        with pytest.raises(ValueError, match=r"newest|confidense"):
            Stream(mode, options=options)


class TestSending:
    def test_lossless_sends_as_many_as_the_credit_allows_and_encodes_a_few_ahead(self) -> None:
        stream = Stream()
        stream.open(credit=3)
        stream.give(3 + ENCODED_AHEAD)
        assert not stream.protocol.wants_more
        assert stream.sent() == ["1", "2", "3"]
        stream.detects(1)
        assert stream.protocol.next_step(stream.now) is not None
        assert not stream.protocol.wants_more
        assert len(stream.answers()) == 1
        assert stream.protocol.wants_more

    def test_latest_sends_the_newest_and_answers_those_that_it_replaced(self) -> None:
        stream = Stream("latest")
        stream.open()
        stream.give(3)
        assert stream.sent() == ["3"]
        stream.detects(3)
        assert [answer.dropped for answer in stream.answers()] == ["superseded", "superseded", None]

    def test_latest_sends_nothing_to_a_caller_that_does_not_read_what_is_there(self) -> None:
        stream = Stream("latest")
        stream.open()
        for number in (1, 2):
            stream.give()
            assert stream.sent() == [str(number)]
            stream.detects(number)
        stream.give(2)
        assert stream.sent() == []
        assert len(stream.answers()) == 3
        assert stream.sent() == ["4"]

    def test_latest_reads_no_more_frames_while_many_answers_are_unread(self) -> None:
        stream = Stream("latest")
        stream.open()
        stream.give(MOST_HELD)
        assert not stream.protocol.wants_more
        assert len(stream.answers()) == MOST_HELD - 1
        assert stream.protocol.wants_more

    def test_latest_drops_what_has_waited_here_for_too_long(self) -> None:
        stream = Stream("latest", max_age_s=1.0)
        stream.give()
        stream.now = 1.1
        stream.open()
        assert stream.sent() == []
        (answer,) = stream.answers()
        assert (answer.dropped, answer.age_ms) == ("stale", None)
        assert answer.total_ms == pytest.approx(1100)

    def test_a_frame_that_is_too_large_is_an_error_that_the_server_never_sees(self) -> None:
        stream = Stream()
        stream.open(max_frame_bytes=100)
        stream.give(2)
        stream.protocol.end_source()
        assert stream.sent(size_bytes=200) == ["half-close"]
        first, second = stream.answers()
        assert first.error is not None
        assert second.error is not None
        assert (first.error.code, first.error.reason) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")
        assert first.error.metadata["maxBytes"] == "100"

    def test_nothing_more_is_sent_once_the_server_drains(self) -> None:
        stream = Stream()
        stream.open()
        stream.give(3)
        stream.drains(0)
        assert stream.sent() == ["half-close"]


class TestAnswers:
    def test_say_what_the_server_said_and_how_long_it_took(self) -> None:
        stream = Stream()
        stream.open()
        frame = StreamFrame(b"", capture_time=12.5, source="camera")
        stream.protocol.add(frame, 1.0)
        stream.sent()
        stream.now = 1.25
        detections = {"detections": [detection_pb2.Detection(class_id=3)], "image_size": {"width": 4, "height": 2}}
        stream.says(result={"frame_id": 1, "detections": detections, "age_ms": 40})
        (answer,) = stream.answers()
        assert answer.frame is frame
        assert (answer.frame_id, answer.capture_time, answer.age_ms, answer.total_ms) == (1, 12.5, 40, 250)
        assert answer.result is not None
        assert (answer.result.model, answer.result.version) == ("codes", "v2")
        assert answer.result.image_wh == (4, 2)

    @pytest.mark.parametrize(
        ("reason", "expected"),
        [
            (stream_pb2.DROP_REASON_SUPERSEDED, "superseded"),
            (stream_pb2.DROP_REASON_STALE, "stale"),
            (stream_pb2.DROP_REASON_OVERLOAD, "overload"),
            (99, "overload"),
        ],
    )
    def test_of_dropped_frames_say_why(self, reason: int, expected: str) -> None:
        stream = Stream()
        stream.open()
        stream.give()
        stream.sent()
        stream.says(result={"frame_id": 1, "dropped": {"reason": reason}})
        assert [answer.dropped for answer in stream.answers()] == [expected]

    @pytest.mark.parametrize("frame_id", [0, 2, 3])
    def test_to_a_frame_that_is_not_next_break_the_contract(self, frame_id: int) -> None:
        stream = Stream()
        stream.open()
        stream.give(2)
        stream.sent()
        with pytest.raises(CallFailed, match=f"frame {frame_id}"):
            stream.detects(frame_id)

    def test_before_ready_break_the_contract(self) -> None:
        stream = Stream()
        stream.connect()
        with pytest.raises(CallFailed, match="heartbeat"):
            stream.says(heartbeat={})

    def test_of_kinds_that_are_newer_than_the_sdk_are_passed_over(self) -> None:
        stream = Stream()
        stream.open()
        stream.says()

    def test_of_a_new_stream_never_repeat_a_track_id(self) -> None:
        stream = Stream()
        stream.open()
        stream.give(3)
        stream.sent()
        stream.detects(1, 1, 2)
        stream.ends(DOWN)
        stream.open()
        stream.sent()
        stream.detects(2, 1)
        stream.drains(2)
        stream.ends()
        stream.open()
        stream.sent()
        stream.detects(3, 2)  # the server was told with the token that it had come to 1
        results = [answer.result for answer in stream.answers()]
        assert [result is not None and result.track_id for result in results] == [(1, 2), (3,), (4,)]


class TestUpdate:
    def test_applies_to_frames_that_were_not_sent_and_to_no_others(self) -> None:
        stream = Stream(options={"max_detections": 1, "iou_threshold": 0.5})
        stream.open()
        stream.give()
        assert stream.sent() == ["1"]
        update = stream.protocol.update({"max_detections": 2})
        stream.give()
        assert stream.sent() == ["update"]
        options = detection_pb2.DetectOptions(max_detections=2, iou_threshold=0.5)
        stream.says(updated={"options": options})
        assert (update.done, update.refusal) == (True, None)
        assert stream.sent() == ["2"]
        stream.detects(1)
        stream.detects(2)
        results = [answer.result for answer in stream.answers()]
        assert [result is not None and result.options["max_detections"] for result in results] == [1, 2]
        stream.ends(DOWN)
        config = stream.connect()
        assert config.options == options

    def test_that_is_refused_changes_nothing(self) -> None:
        stream = Stream()
        stream.open()
        update = stream.protocol.update({"classes": ["cat"]})
        stream.sent()
        stream.says(updated={"error": {"code": 3, "message": "no cat"}})
        assert str(update.refusal) == "INVALID_ARGUMENT: no cat"
        stream.ends(DOWN)
        assert not stream.connect().options.classes

    def test_that_was_not_answered_is_made_again_at_the_next_server(self) -> None:
        stream = Stream()
        stream.open()
        stream.protocol.update({"max_detections": 2})
        assert stream.sent() == ["update"]
        stream.ends(DOWN)
        assert not stream.open().options.HasField("max_detections")
        assert stream.sent() == ["update"]

    def test_that_nobody_asked_for_breaks_the_contract(self) -> None:
        stream = Stream()
        stream.open()
        with pytest.raises(CallFailed, match="updated"):
            stream.says(updated={})


class TestEndOfACall:
    @pytest.mark.parametrize(
        "failure",
        [
            CallFailed("INVALID_ARGUMENT", ""),
            CallFailed("NOT_FOUND", ""),
            CallFailed("FAILED_PRECONDITION", "", "MODEL_VERSION_NOT_HELD"),
            CallFailed("PERMISSION_DENIED", ""),
            CallFailed("UNAUTHENTICATED", ""),
            CallFailed("UNIMPLEMENTED", ""),
            CallFailed("INTERNAL", "", "INTERNAL"),
            CallFailed("INVALID_ARGUMENT", "", "RESUME_TOKEN_INVALID"),  # when there was no token
        ],
        ids=str,
    )
    def test_that_another_try_cannot_mend_is_the_end_of_the_stream(self, failure: CallFailed) -> None:
        stream = Stream()
        stream.connect()
        stream.ends(failure)
        assert stream.protocol.over
        assert stream.protocol.failure is failure

    @pytest.mark.parametrize(
        "failure",
        [
            None,
            DOWN,
            CallFailed("INTERNAL", "received RST_STREAM"),
            CallFailed("UNKNOWN", "stream removed"),
            CallFailed("CANCELLED", ""),
            CallFailed("DEADLINE_EXCEEDED", "", "ANSWERS_NOT_READ"),
            CallFailed("RESOURCE_EXHAUSTED", "", "TOO_MANY_STREAMS"),
        ],
        ids=str,
    )
    def test_that_another_try_may_mend_has_one(self, failure: CallFailed | None) -> None:
        stream = Stream()
        stream.open()
        stream.give(2)
        assert stream.sent() == ["1", "2"]
        stream.detects(1)
        stream.ends(failure)
        assert not stream.protocol.over
        assert 0 <= stream.protocol.connect_at <= FIRST_WAIT_S
        assert stream.open().resume_token == ""
        assert stream.sent() == ["2"]

    def test_is_the_end_of_the_stream_where_all_is_answered(self) -> None:
        stream = Stream()
        stream.open()
        stream.give()
        stream.protocol.end_source()
        assert stream.sent() == ["1", "half-close"]
        stream.detects(1)
        stream.ends(DOWN)
        assert (stream.protocol.over, stream.protocol.failure) == (True, None)

    def test_tells_what_the_source_ended_with_once_all_is_answered(self) -> None:
        stream, failure = Stream(), OSError("camera unplugged")
        stream.open()
        stream.give()
        stream.protocol.end_source(failure)
        stream.sent()
        stream.ends(DOWN)
        assert not stream.protocol.over
        stream.open()
        assert stream.sent() == ["1", "half-close"]
        stream.detects(1)
        stream.ends()
        assert (stream.protocol.over, stream.protocol.failure) == (True, failure)

    def test_by_a_drain_goes_on_at_once_with_the_token_and_what_was_not_taken(self) -> None:
        stream = Stream()
        stream.open()
        stream.give(3)
        assert stream.sent() == ["1", "2", "3"]
        stream.drains(2)
        stream.detects(1)
        stream.detects(2)
        stream.ends()
        assert stream.protocol.connect_at <= stream.now
        assert stream.open().resume_token == "token"  # noqa: S105
        assert stream.sent() == ["3"]

    def test_by_a_drain_keeps_the_token_until_a_server_takes_it(self) -> None:
        stream = Stream()
        stream.open()
        stream.drains(0)
        stream.ends()
        stream.connect()
        stream.ends(DOWN)
        assert stream.open().resume_token == "token"  # noqa: S105
        stream.ends(DOWN)
        assert stream.connect().resume_token == ""

    @pytest.mark.parametrize(
        "refusal",
        [
            CallFailed("INVALID_ARGUMENT", "", "RESUME_TOKEN_INVALID"),
            CallFailed("FAILED_PRECONDITION", "", "RESUME_TOKEN_EXPIRED"),
        ],
        ids=str,
    )
    def test_by_a_refused_token_goes_on_at_once_without_it(self, refusal: CallFailed) -> None:
        stream = Stream()
        stream.open()
        stream.drains(0)
        stream.ends()
        stream.connect()
        stream.ends(refusal)
        config = stream.connect()
        assert (config.resume_token, config.version) == ("", "v2")

    def test_in_the_middle_of_a_drain_gives_up_the_token_to_send_again_what_was_taken(self) -> None:
        stream = Stream()
        stream.open()
        stream.give(3)
        stream.sent()
        stream.drains(2)
        stream.detects(1)
        stream.ends(DOWN)
        assert stream.open().resume_token == ""
        assert stream.sent() == ["2", "3"]

    def test_sends_only_the_newest_again_in_mode_latest(self) -> None:
        stream = Stream("latest")
        stream.open()
        for _ in range(3):
            stream.give()
            stream.sent()
        stream.ends(DOWN)
        stream.open()
        assert stream.sent() == ["3"]
        stream.detects(3)
        assert [answer.dropped for answer in stream.answers()] == ["superseded", "superseded", None]


class TestOutage:
    def test_waits_longer_and_longer_and_gives_up_with_the_last_failure(self) -> None:
        stream, waits = Stream(), list[float]()
        while not stream.protocol.over:
            stream.connect()
            stream.ends(DOWN)
            waits.append(stream.protocol.connect_at - stream.now)
            stream.now = stream.protocol.connect_at
        assert waits[:4] == pytest.approx([FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S, 8 * FIRST_WAIT_S])
        assert stream.now < TIMEOUT_S
        assert stream.protocol.failure is DOWN

    @pytest.mark.parametrize("jitter", [0.0, 1.0])
    def test_waits_at_least_as_long_as_the_server_says(self, jitter: float) -> None:
        outage = Outage(TIMEOUT_S, lambda: jitter)
        busy = CallFailed("RESOURCE_EXHAUSTED", "", retry_after_s=3.0)
        assert 3.0 <= outage.next_try_at(busy, 0.0) <= 4.0

    def test_is_not_over_when_a_server_takes_the_stream_and_then_fails(self) -> None:
        stream = Stream()
        stream.give()
        while not stream.protocol.over:
            stream.open()
            assert stream.sent() == ["1"]
            stream.now += 3
            stream.says(heartbeat={})
            stream.ends(DOWN)
            stream.now = max(stream.now, stream.protocol.connect_at)
        assert stream.protocol.failure is DOWN

    @pytest.mark.parametrize("answered", [True, False])
    def test_is_over_with_the_first_answer_or_a_sign_of_life_when_none_is_due(self, answered: bool) -> None:  # noqa: FBT001
        stream = Stream()
        for number in range(1, 20):
            stream.open()
            if answered:
                stream.give()
                stream.sent()
                stream.detects(number)
            else:
                stream.says(heartbeat={})
            stream.now += 10
            stream.ends(DOWN)
        assert not stream.protocol.over

    def test_of_servers_that_only_drain_comes_to_an_end(self) -> None:
        stream = Stream()
        stream.give()
        for _ in range(100):
            stream.open()
            stream.drains(0)
            stream.ends()
            stream.now = max(stream.now, stream.protocol.connect_at)
        assert isinstance(stream.protocol.failure, CallFailed)
        assert stream.protocol.failure.code == "UNAVAILABLE"


class TestSilence:
    def test_of_three_heartbeats_is_the_loss_of_the_server(self) -> None:
        stream = Stream()
        stream.now = 100.0
        stream.open()
        assert stream.protocol.silent_at == 106.0
        stream.now = 105.0
        stream.says(heartbeat={})
        assert stream.protocol.silent_at == 111.0
        stream.now = 111.5
        assert str(stream.protocol.silence(stream.now)) == "UNAVAILABLE: the server was silent for 6.5 s"

    def test_before_ready_lasts_as_long_as_the_outage_may(self) -> None:
        stream = Stream()
        stream.now = 100.0
        stream.connect()
        assert stream.protocol.silent_at == 100.0 + TIMEOUT_S
        stream.now += TIMEOUT_S
        stream.ends(stream.protocol.silence(stream.now))
        assert stream.protocol.over
