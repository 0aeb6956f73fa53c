"""Streams over real connections: every frame is answered once, in order, and the stream says why it ends."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import cv2
import grpc
import numpy as np
import pytest
from support.calls import SERVING, connected, encoded_request, failure, wait_for, wait_until
from support.metrics import read_metrics, settled_metrics
from support.onnx_files import tiny_onnx
from support.rich_errors import reason_of, violations_of
from support.servers import BUNDLED_MODELS, server_process
from support.streams import LATEST, LOSSLESS, Stream, config, frame

from detector_grpc._gen.detector.v1 import detection_pb2, stream_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from support.calls import Client
    from support.servers import ServerProcess

PICTURE = (BUNDLED_MODELS.parent / "pictures" / "desk.jpg").read_bytes()


def outcomes(results: Iterable[stream_pb2.FrameResult]) -> list[str | None]:
    return [result.WhichOneof("outcome") for result in results]


def ids(results: Iterable[stream_pb2.FrameResult]) -> list[int]:
    return [result.frame_id for result in results]


def pictures(count: int) -> list[bytes]:
    """The desk, shifted a little more each time."""
    desk = cv2.imdecode(np.frombuffer(PICTURE, np.uint8), cv2.IMREAD_COLOR)
    shifted = (np.roll(desk, 7 * index, axis=1) for index in range(count))
    return [cv2.imencode(".jpg", picture)[1].tobytes() for picture in shifted]


@pytest.fixture
def costly(tmp_path: Path, half_second: int) -> Path:
    """A repository of one model that takes about 50 ms for a picture."""
    tiny_onnx(tmp_path / "models" / "tiny" / "v1" / "model.onnx", cost=max(1, half_second // 10))
    return tmp_path / "models"


class TestLossless:
    def test_every_frame_is_answered_as_by_detect_in_order(self, codes: Client) -> None:
        encoded = pictures(12)
        with Stream(codes) as stream:
            stream.send(config(LOSSLESS), *[frame(10 * number, each) for number, each in enumerate(encoded, 1)])
            stream.half_close()
            ready = stream.ready()
            results = list(stream.results())

        assert (ready.model, ready.version) == ("codes", "v1")
        assert ids(results) == [10 * number for number in range(1, 13)]
        for each, result in zip(encoded, results, strict=True):
            alone = codes.detect(encoded_request(each))
            assert list(result.detections.detections) == list(alone.detections)
            assert result.detections.image_size == alone.image_size
            assert 0 < result.detections.uncertainty == alone.uncertainty < 1
            assert result.detections.uncertainty_driver == alone.uncertainty_driver == "expected_error"
        assert stream.call.code() is grpc.StatusCode.OK

    def test_no_more_frames_are_taken_than_the_credit_that_was_announced(self, costly: Path) -> None:
        with (
            server_process(repository=costly, limits_max_stream_frames=3) as server,
            connected(server.address) as client,
        ):
            client.wait_for_status(SERVING)
            with Stream(client) as stream:
                stream.send(config(LOSSLESS), *[frame(number, PICTURE) for number in range(1, 9)])
                stream.half_close()
                assert stream.ready().max_frames_in_flight == 3
                results = list(stream.results())
            assert ids(results) == list(range(1, 9))
            assert outcomes(results) == ["detections"] * 8
            # Frames beyond the credit wait on the wire, and have no age there.
            slowest_ms = max(result.detections.timing.inference_ms for result in results)
            assert max(result.age_ms for result in results) < 5 * slowest_ms


class TestLatest:
    def test_frames_that_come_too_fast_are_dropped_and_the_newest_is_looked_at(self, codes: Client) -> None:
        with Stream(codes) as stream:
            stream.send(config(LATEST), *[frame(number, PICTURE) for number in range(1, 61)])
            stream.half_close()
            stream.ready()
            results = list(stream.results())

        assert ids(results) == list(range(1, 61))
        found = outcomes(results)
        assert found[0] == found[-1] == "detections"
        assert found.count("dropped") > 10
        reasons = {result.dropped.reason for result in results if result.WhichOneof("outcome") == "dropped"}
        assert reasons == {stream_pb2.DROP_REASON_SUPERSEDED}

    def test_a_frame_that_waited_too_long_is_dropped_as_stale(self, costly: Path) -> None:
        def in_time_and_too_late() -> list[stream_pb2.FrameResult] | None:
            with Stream(client) as stream:
                stream.send(config(LATEST, max_frame_age_ms=20), frame(1, PICTURE), frame(2, PICTURE))
                stream.half_close()
                stream.ready()
                results = list(stream.results())
            return results if outcomes(results)[0] == "detections" else None

        with server_process(repository=costly, runtime_workers=1) as server, connected(server.address) as client:
            client.wait_for_status(SERVING)
            # On a machine that stalls the first may be late, too.
            results = wait_for(in_time_and_too_late, "a first frame that is looked at")
        assert outcomes(results) == ["detections", "dropped"]
        assert results[1].dropped.reason == stream_pb2.DROP_REASON_STALE


class TestBadMessages:
    def test_a_broken_frame_has_an_error_of_its_own_and_the_stream_goes_on(self, codes: Client) -> None:
        with Stream(codes) as stream:
            stream.send(
                config(),
                frame(1, PICTURE),
                frame(2, b"no picture"),
                frame(3, b""),
                stream_pb2.StreamDetectRequest(frame=stream_pb2.Frame(frame_id=4)),
                frame(5, PICTURE),
            )
            stream.half_close()
            stream.ready()
            results = list(stream.results())
        assert ids(results) == [1, 2, 3, 4, 5]
        assert outcomes(results) == ["detections", "error", "error", "error", "detections"]
        assert "IMAGE_UNDECODABLE" in str(results[1].error)
        assert "IMAGE_EMPTY" in str(results[2].error)
        assert "image: is required" in results[3].error.message

    @pytest.mark.parametrize("bad", [0, 7, 6, 2**63])
    def test_an_id_that_does_not_increase_is_an_error_of_that_frame(self, codes: Client, bad: int) -> None:
        with Stream(codes) as stream:
            stream.send(config(), frame(7, PICTURE), frame(bad, PICTURE), frame(8, PICTURE))
            stream.half_close()
            stream.ready()
            results = list(stream.results())
        assert ids(results) == [7, bad, 8]
        assert outcomes(results) == ["detections", "error", "detections"]
        assert f"frame_id: must be in [8, {2**63 - 1}], got {bad}" in results[1].error.message

    def test_a_frame_above_the_limit_is_an_error_of_that_frame(self) -> None:
        settings = {"limits_max_message_bytes": 300_000, "repository": BUNDLED_MODELS}
        with server_process(**settings) as server, connected(server.address) as client:
            client.wait_for_status(SERVING)
            with Stream(client) as stream:
                stream.send(config(), frame(1, bytes(400_000)), frame(2, PICTURE))
                stream.half_close()
                assert stream.ready().max_frame_bytes == 300_000
                results = list(stream.results())
        assert outcomes(results) == ["error", "detections"]
        assert "the limit is 300000" in results[0].error.message

    @pytest.mark.parametrize(
        ("messages", "field"),
        [
            ([], "config"),
            ([frame(1, PICTURE)], "config"),
            ([stream_pb2.StreamDetectRequest()], "config"),
            ([config(max_frame_age_ms=0)], "config.max_frame_age_ms"),
            ([config(9)], "config.mode"),
            ([config(heartbeat_interval_ms=99)], "config.heartbeat_interval_ms"),
            ([config(options=detection_pb2.DetectOptions(iou_threshold=2))], "options.iou_threshold"),
            ([config(options=detection_pb2.DetectOptions(classes=["cat"]))], "options.classes"),
            ([config(resume_token="made up")], "config.resume_token"),  # noqa: S106 - none
        ],
        ids=["nothing", "a frame", "empty", "age", "mode", "heartbeat", "threshold", "class", "token"],
    )
    def test_a_first_message_that_is_no_good_config_ends_the_stream(
        self, codes: Client, messages: list[stream_pb2.StreamDetectRequest], field: str
    ) -> None:
        with Stream(codes) as stream:
            stream.send(*messages)
            stream.half_close()
            error = failure(lambda: list(stream.call))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert field in violations_of(error)

    def test_a_second_config_ends_the_stream_when_the_frames_before_it_are_answered(self, codes: Client) -> None:
        with Stream(codes) as stream:
            stream.send(config(), frame(1, PICTURE), frame(2, PICTURE), config())
            stream.ready()
            assert [stream.result().frame_id, stream.result().frame_id] == [1, 2]
            error = failure(stream.answer)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "only the first message" in error.details()

    def test_an_unknown_version_is_the_same_error_as_of_detect(self, codes: Client) -> None:
        with Stream(codes) as stream:
            stream.send(config(version="v9"))
            error = failure(stream.answer)
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_VERSION_NOT_HELD")


class TestUpdates:
    def test_thresholds_change_from_the_next_frame_on(self, codes: Client) -> None:
        strict = stream_pb2.StreamUpdate(options=detection_pb2.DetectOptions(confidence_threshold=0.99))
        with Stream(codes) as stream:
            stream.send(config(), frame(1, PICTURE), stream_pb2.StreamDetectRequest(update=strict), frame(2, PICTURE))
            stream.half_close()
            stream.ready()
            answers = list(stream.call)
        (updated,) = [answer.updated for answer in answers if answer.WhichOneof("message") == "updated"]
        assert updated.options.confidence_threshold == pytest.approx(0.99)
        first, second = [answer.result for answer in answers if answer.WhichOneof("message") == "result"]
        assert first.detections.detections
        assert not second.detections.detections

    def test_a_bad_update_is_refused_and_changes_nothing(self, codes: Client) -> None:
        bad = stream_pb2.StreamUpdate(options=detection_pb2.DetectOptions(classes=["cat"]))
        with Stream(codes) as stream:
            stream.send(config(), stream_pb2.StreamDetectRequest(update=bad), frame(1, PICTURE))
            stream.half_close()
            stream.ready()
            answers = list(stream.call)
        kinds = sorted(answer.WhichOneof("message") for answer in answers)
        assert kinds == ["result", "updated"]
        (updated,) = [answer.updated for answer in answers if answer.WhichOneof("message") == "updated"]
        assert 'no class "cat"' in updated.error.message


def test_silence_is_broken_by_heartbeats(codes: Client) -> None:
    with Stream(codes) as stream:
        started = time.monotonic()
        stream.send(config(heartbeat_interval_ms=100))
        stream.ready()
        assert [stream.answer().WhichOneof("message") for _ in range(3)] == ["heartbeat"] * 3
        assert time.monotonic() - started >= 0.3


def test_the_capture_time_comes_back(codes: Client) -> None:
    with Stream(codes) as stream:
        message = frame(1, PICTURE)
        message.frame.capture_time.FromNanoseconds(1_234_567_890_123_456_789)
        stream.send(config(), message)
        stream.ready()
        assert stream.result().capture_time.ToNanoseconds() == 1_234_567_890_123_456_789


class TestDrain:
    def test_the_caller_is_told_where_it_was_and_goes_on_at_another_server(self, tmp_path: Path) -> None:
        key = tmp_path / "key"
        key.write_bytes(b"a secret of sixteen bytes or more")
        settings = {"repository": BUNDLED_MODELS, "streams_resume_key_file": key}
        with server_process(**settings) as first, server_process(**settings) as second:
            with connected(first.address) as client, Stream(client) as stream:
                client.wait_for_status(SERVING)
                stream.send(config(version="v2"), *[frame(number, PICTURE) for number in range(1, 4)])
                stream.ready()
                seen = [stream.result().frame_id]
                first.send(signal.SIGTERM)
                rest = list(stream.call)
                assert stream.call.code() is grpc.StatusCode.OK
            (drain,) = [answer.drain for answer in rest if answer.WhichOneof("message") == "drain"]
            seen += [answer.result.frame_id for answer in rest if answer.WhichOneof("message") == "result"]
            assert seen == list(range(1, drain.last_frame_id + 1))
            assert first.wait() == 0

            with connected(second.address) as client:
                client.wait_for_status(SERVING)
                with Stream(client) as stream:
                    stream.send(config(resume_token=drain.resume_token))
                    stream.send(frame(drain.last_frame_id, PICTURE), frame(drain.last_frame_id + 1, PICTURE))
                    stream.half_close()
                    assert stream.ready().version == "v2"
                    assert outcomes(stream.results()) == ["error", "detections"]
                with Stream(client) as stream:
                    stream.send(config(version="v1", resume_token=drain.resume_token))
                    error = failure(stream.answer)
                    assert 'the stream that goes on has "v2", got "v1"' in error.details()

    def test_a_token_of_a_server_with_another_key_is_refused(self, codes: Client) -> None:
        with server_process(repository=BUNDLED_MODELS) as other, connected(other.address) as client:
            client.wait_for_status(SERVING)
            with Stream(client) as stream:
                stream.send(config())
                stream.ready()
                other.send(signal.SIGTERM)
                token = stream.answer().drain.resume_token
        with Stream(codes) as stream:
            stream.send(config(resume_token=token))
            error = failure(stream.answer)
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID")


class TestLimits:
    def test_more_streams_than_allowed_are_refused_and_a_free_place_is_given_again(self) -> None:
        settings = {"repository": BUNDLED_MODELS, "limits_max_streams": 1}
        with server_process(**settings) as server, connected(server.address) as client:
            client.wait_for_status(SERVING)
            with Stream(client) as stream:
                stream.send(config())
                stream.ready()
                with Stream(client) as refused:
                    refused.send(config())
                    error = failure(refused.answer)
                assert (error.code(), reason_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
            wait_until(lambda: read_metrics(server).value("object_detection_streams") == 0, "the stream has ended")
            with Stream(client) as stream:
                stream.send(config())
                stream.ready()

    def test_a_caller_that_does_not_read_loses_its_place_and_nobody_else_notices(self) -> None:
        settings = {"repository": BUNDLED_MODELS, "limits_receive_timeout_s": 1}
        little_room = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024))
        with (
            server_process(**settings) as server,
            connected(server.address) as client,
            connected(server.address, options=little_room) as deaf,
        ):
            client.wait_for_status(SERVING)
            with Stream(deaf) as stuck, Stream(client) as good:
                good.send(config())
                good.ready()
                stuck.send(config(LATEST), *[frame(number, b"no picture") for number in range(1, 5_000)])
                for number in range(1, 6):
                    good.send(frame(number, PICTURE))
                    assert good.result().frame_id == number
                wait_until(
                    lambda: read_metrics(server).value("object_detection_streams") == 1,
                    "the place of the deaf one is free",
                )
                error = failure(lambda: list(stuck.call))
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.DEADLINE_EXCEEDED, "ANSWERS_NOT_READ")


def test_who_says_nothing_loses_its_place() -> None:
    settings = {"repository": BUNDLED_MODELS, "limits_receive_timeout_s": 1}
    with server_process(**settings) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        with Stream(client) as stream:
            error = failure(stream.answer)
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.DEADLINE_EXCEEDED, "RECEIVE_TIMEOUT")


def test_who_has_said_nothing_does_not_keep_a_server_from_stopping() -> None:
    with server_process(repository=BUNDLED_MODELS) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        with Stream(client) as stream:
            wait_until(lambda: read_metrics(server).value("object_detection_streams") == 1, "the stream is there")
            server.send(signal.SIGTERM)
            error = failure(stream.answer)
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        assert server.wait() == 0


def test_updates_that_are_not_read_do_not_pile_up(codes: Client, codes_server: ServerProcess) -> None:
    before = codes_server.memory_bytes()
    names = [f"unknown class {number}" for number in range(200)]
    update = stream_pb2.StreamUpdate(options=detection_pb2.DetectOptions(classes=names))
    with Stream(codes) as stream:
        stream.send(config(), *[stream_pb2.StreamDetectRequest(update=update) for _ in range(3000)])
        stream.ready()
        for _ in range(5):  # while it sends all that the server takes
            with Stream(codes) as other:
                other.send(config(), *[frame(number, PICTURE) for number in range(1, 9)])
                other.half_close()
                other.ready()
                assert len(list(other.results())) == 8
        assert codes_server.memory_bytes() - before < 100 * 2**20


def test_a_caller_that_vanishes_leaves_nothing_behind(codes: Client, codes_server: ServerProcess) -> None:
    for _ in range(5):
        with Stream(codes) as stream:
            stream.send(config(), *[frame(number, PICTURE) for number in range(1, 9)])
            stream.ready()
            stream.call.cancel()
    wait_until(lambda: read_metrics(codes_server).value("object_detection_streams") == 0, "all streams have ended")
    wait_until(lambda: read_metrics(codes_server).value("object_detection_queue_depth") == 0, "nothing waits")


def test_frames_are_counted_by_what_became_of_them(codes: Client, codes_server: ServerProcess) -> None:
    def counted() -> list[float]:
        metrics, version = settled_metrics(codes_server, codes), {"model": "codes", "version": "v2"}
        return [
            metrics.value("object_detection_stream_frames_total", **version, outcome="detected"),
            metrics.value("object_detection_stream_frames_total", **version, outcome="error"),
            metrics.value("object_detection_stream_frame_age_seconds_count", **version),
            metrics.value("object_detection_requests_total", **version, status="ok"),
        ]

    before = counted()
    with Stream(codes) as stream:
        stream.send(config(version="v2"), frame(1, PICTURE), frame(2, b"no"), frame(3, PICTURE))
        stream.half_close()
        request_id = stream.ready().request_id
        assert len(list(stream.results())) == 3
    logged = codes_server.wait_for_log("call", request_id=request_id)
    assert logged["frames"] == {"detected": 2, "error": 1}
    assert [after - earlier for after, earlier in zip(counted(), before, strict=True)] == [2, 1, 2, 1]
