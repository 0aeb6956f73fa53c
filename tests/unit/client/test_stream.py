"""Streams of the detector, blocking and asyncio, over a real wire to a server that follows a script."""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from itertools import count, repeat
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import psutil
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from support.calls import wait_until
from support.servers import PATIENCE_S

from detector_grpc._gen.detector.v1 import model_service_pb2, stream_pb2
from detector_grpc.client import AsyncDetector, CallFailed, Detector, StreamFrame
from detector_grpc.client.stream import aio, blocking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from conftest import Connect, RedDetector, Scene, Server, StreamRequests, StreamResponses

    from detector_grpc.client import StreamAnswer

Config, Context = stream_pb2.StreamConfig, grpc.ServicerContext
GREY = np.full((8, 8), 9, np.uint8)


def sent_frames(server: Server) -> list[stream_pb2.Frame]:
    return [request.frame for request in server.red.asked(stream_pb2.StreamDetectRequest) if request.HasField("frame")]


def sent_configs(server: Server) -> list[Config]:
    return [
        request.config for request in server.red.asked(stream_pb2.StreamDetectRequest) if request.HasField("config")
    ]


async def streamed(connect: Connect, frames: Any, **options: Any) -> list[StreamAnswer[Any]]:
    async with connect() as detector, detector.stream(frames, mode="lossless", **options) as answers:
        return [answer async for answer in answers]


def boxes(answer: StreamAnswer[Any]) -> list[tuple[float, ...]]:
    assert answer.result is not None, answer.error
    return [detection.bbox for detection in answer.result]


class TestFrames:
    @pytest.mark.parametrize("kind", ["array", "bytes", "path", "frame"])
    async def test_of_every_kind_are_answered_with_the_very_object_that_was_given(
        self, connect: Connect, server: Server, scene: Scene, tmp_path: Path, kind: str
    ) -> None:
        path = tmp_path / "scene.png"
        path.write_bytes(scene.encoded(".png"))
        picture = {"array": scene.rgb, "bytes": path.read_bytes(), "path": path, "frame": scene.rgb}[kind]
        frames = [StreamFrame(picture, 1.5, "source") if kind == "frame" else picture for _ in range(3)]
        answers = await streamed(connect, frames)
        assert all(answer.frame is frame for answer, frame in zip(answers, frames, strict=True))
        assert [answer.frame_id for answer in answers] == [1, 2, 3]
        assert [answer.capture_time for answer in answers] == [1.5 if kind == "frame" else None] * 3
        for answer in answers:
            np.testing.assert_allclose(boxes(answer), [scene.box], atol=1.5)
            assert answer.total_ms > 0
            assert answer.age_ms == 1
        if kind == "frame":
            assert [frame.capture_time.ToNanoseconds() for frame in sent_frames(server)] == [1_500_000_000] * 3

    @pytest.mark.parametrize(("quality", "source"), [(90, "encoded"), (None, "raw")])
    async def test_of_pixels_are_compressed_unless_told_otherwise(
        self, connect: Connect, server: Server, scene: Scene, quality: int | None, source: str
    ) -> None:
        bgr = np.ascontiguousarray(scene.rgb[:, :, ::-1])
        (answer,) = await streamed(connect, [bgr], color="BGR", jpeg_quality=quality)
        np.testing.assert_allclose(boxes(answer), [scene.box], atol=1.5 if quality else 0)
        (frame,) = sent_frames(server)
        assert frame.image.WhichOneof("source") == source

    async def test_can_be_said_to_be_of_a_camera(self, connect: Connect, server: Server, scene: Scene) -> None:
        await streamed(connect, [scene.rgb], stream_id="hall")
        assert server.red.metadata["x-stream-id"] == "hall"

    async def test_are_scaled_down_to_the_input_of_the_version_that_answers(
        self, connect: Connect, server: Server, scene: Scene
    ) -> None:
        (answer,) = await streamed(connect, [scene.rgb], downscale=True)
        (asked,) = server.red.asked(model_service_pb2.GetModelRequest)
        (frame,) = sent_frames(server)
        assert (asked.model, asked.version) == ("red", "v1")
        assert (frame.source_size.width, frame.source_size.height) == (160, 120)
        np.testing.assert_allclose(boxes(answer), [scene.box], atol=1.5 * 160 / 64)

    async def test_that_cannot_be_sent_are_answered_with_their_error_and_the_others_go_on(
        self, connect: Connect, scene: Scene
    ) -> None:
        frames = [scene.rgb, "/no/such.jpg", np.zeros((4, 4), np.float32), None, StreamFrame(scene.rgb, 1e300)]
        good, *bad = await streamed(connect, [*frames, b"no picture", scene.rgb])
        assert boxes(good)
        assert boxes(bad.pop())
        refused = bad.pop()
        assert str(refused.error) == "INVALID_ARGUMENT: the bytes are no picture"
        causes = [type(answer.error.__cause__) for answer in bad if answer.error]
        assert causes[:3] == [FileNotFoundError, ValueError, TypeError]
        assert {answer.error.code for answer in bad if answer.error} == {"INVALID_ARGUMENT"}
        assert len(bad) == 4

    async def test_that_are_too_large_for_the_server_are_not_sent(
        self, connect: Connect, server: Server, scene: Scene
    ) -> None:
        large, small = await streamed(connect, [bytes(100_001), scene.rgb])
        assert large.error is not None
        assert large.error.reason == "MESSAGE_TOO_LARGE"
        assert boxes(small)
        assert len(sent_frames(server)) == 1

    async def test_of_a_source_that_fails_are_answered_before_the_failure_is_raised(
        self, connect: Connect, scene: Scene
    ) -> None:
        def camera() -> Iterator[np.ndarray]:
            yield scene.rgb
            yield scene.rgb
            raise OSError("unplugged")

        async with connect() as detector, detector.stream(camera(), mode="lossless") as answers:
            assert [(await anext(answers)).frame_id for _ in range(2)] == [1, 2]
            with pytest.raises(OSError, match="unplugged"):
                await anext(answers)

    async def test_are_read_no_faster_than_answers_are_in_mode_lossless(self, connect: Connect, scene: Scene) -> None:
        numbers = count(1)
        given: list[int] = []

        def recording() -> Iterator[np.ndarray]:
            for number in numbers:
                given.append(number)
                yield scene.rgb

        async with connect() as detector, detector.stream(recording(), mode="lossless") as answers:
            most = answers.ready.max_frames_in_flight + 2
            await eventually(lambda: len(given) == most, "all that there is room for is read")
            for read in range(1, 10):
                await asyncio.sleep(0.02)  # nothing else goes on any more
                assert len(given) == most + read - 1
                assert (await anext(answers)).frame_id == read
                await eventually(lambda expected=most + read: len(given) == expected, "one more is read")

    async def test_that_are_given_asynchronously_are_as_good(self, server: Server, scene: Scene) -> None:
        async def camera() -> AsyncIterator[np.ndarray]:
            for _ in range(3):
                yield scene.rgb

        async with AsyncDetector(server.address) as detector, detector.stream(camera(), mode="lossless") as answers:
            assert [boxes(answer) != [] async for answer in answers] == [True] * 3

    @pytest.mark.parametrize("frames", ["clip.mp4", b"picture", 7])
    async def test_that_are_not_many_are_refused(self, connect: Connect, frames: object) -> None:
        with pytest.raises(TypeError):
            await streamed(connect, frames)

    @pytest.mark.parametrize(
        "options",
        [{"jpeg_quality": 0}, {"mode": "newest"}, {"confidense": 1}, {"reconnect_timeout_s": math.nan}],
    )
    async def test_with_settings_that_there_are_not_are_refused(
        self, connect: Connect, server: Server, options: dict[str, object]
    ) -> None:
        with pytest.raises(ValueError, match=r"quality|newest|confidense|reconnect"):
            async with connect() as detector, detector.stream([], **options):
                pass
        assert not server.red.requests


class TestCall:
    async def test_carries_config_options_version_and_token(self, connect: Connect, server: Server) -> None:
        async with (
            connect(server.address, "red", "v7", token="t0ken") as detector,  # noqa: S106
            detector.stream([], mode="lossless", max_detections=3) as answers,
        ):
            assert (answers.ready.model, answers.ready.version) == ("red", "v7")
            assert answers.ready.options["max_detections"] == 3
        (config,) = sent_configs(server)
        assert (config.model, config.version, config.options.max_detections) == ("red", "v7", 3)
        assert server.red.metadata["x-model-version"] == "v7"
        assert server.red.metadata["authorization"] == "Bearer t0ken"

    async def test_that_is_refused_for_good_raises_at_once(self, connect: Connect, server: Server) -> None:
        server.fail(grpc.StatusCode.PERMISSION_DENIED, "not you", error_details_pb2.ErrorInfo(reason="NOT_YOU"))
        with pytest.raises(CallFailed) as failure:
            await streamed(connect, [GREY])
        assert (failure.value.code, failure.value.reason) == ("PERMISSION_DENIED", "NOT_YOU")
        assert len(sent_configs(server)) == 1

    async def test_that_reaches_no_server_is_given_up_in_time(self, connect: Connect, server: Server) -> None:
        server.stop()
        started = time.monotonic()
        with pytest.raises(CallFailed) as failure:
            await streamed(connect, [GREY], reconnect_timeout_s=0.5)
        assert (failure.value.code, failure.value.reason) == ("UNAVAILABLE", "")
        assert time.monotonic() - started < 25  # without the setting it is 30 s

    async def test_that_reaches_a_server_which_says_nothing_is_given_up_in_time(
        self, connect: Connect, server: Server
    ) -> None:
        server.red.scripts = [deaf]
        with pytest.raises(CallFailed, match="in time"):
            await streamed(connect, [GREY], reconnect_timeout_s=0.5)

    async def test_to_a_full_server_waits_as_long_as_it_says(self, connect: Connect, server: Server) -> None:
        delay = Duration()
        delay.FromMilliseconds(300)
        info, retry = (
            error_details_pb2.ErrorInfo(reason="TOO_MANY_STREAMS"),
            error_details_pb2.RetryInfo(retry_delay=delay),
        )
        fail = server.failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", info, retry)

        def full(_: RedDetector, __: Config, ___: StreamRequests, context: Context) -> StreamResponses:
            fail(context)
            yield from ()

        server.red.scripts = [full]
        started = time.monotonic()
        (answer,) = await streamed(connect, [GREY])
        assert time.monotonic() - started >= 0.3
        assert answer.result is not None

    async def test_to_a_server_that_falls_silent_is_made_again_with_what_was_not_answered(
        self, connect: Connect, server: Server
    ) -> None:
        def falls_silent(
            red: RedDetector, config: Config, requests: StreamRequests, context: Context
        ) -> StreamResponses:
            yield red.ready(config, version="v3", heartbeat_interval_ms=100)
            yield red.answer(next(requests))
            yield from deaf(red, config, requests, context)

        server.red.scripts = [falls_silent]
        answers = await streamed(connect, [GREY] * 3)
        assert [answer.frame_id for answer in answers if answer.result is not None] == [1, 2, 3]
        first, second = sent_configs(server)
        assert (first.version, second.version, second.resume_token) == ("", "v3", "")
        assert server.red.metadata["x-model-version"] == "v3"

    async def test_is_not_taken_for_lost_because_the_caller_keeps_the_loop_busy(self, server: Server) -> None:
        def beats(red: RedDetector, config: Config, requests: StreamRequests, _: Context) -> StreamResponses:
            yield red.ready(config, heartbeat_interval_ms=300)
            yield red.answer(next(requests))
            for _beat in range(30):
                time.sleep(0.05)
                yield stream_pb2.StreamDetectResponse(heartbeat={})
            yield red.answer(next(requests))

        server.red.scripts = [beats]
        async with AsyncDetector(server.address) as detector, detector.stream([GREY] * 2, mode="lossless") as answers:
            async for _ in answers:
                time.sleep(1.2)  # noqa: ASYNC251 - that is the fault
        assert len(sent_configs(server)) == 1

    async def test_after_a_drain_has_the_token_and_one_after_that_was_refused_has_none(
        self, connect: Connect, server: Server
    ) -> None:
        fail = server.failure(
            grpc.StatusCode.INVALID_ARGUMENT, "not mine", error_details_pb2.ErrorInfo(reason="RESUME_TOKEN_INVALID")
        )

        def drains(red: RedDetector, config: Config, requests: StreamRequests, _: Context) -> StreamResponses:
            yield red.ready(config, version="v3")
            first = next(requests)
            yield stream_pb2.StreamDetectResponse(drain={"resume_token": "token", "last_frame_id": 1})
            yield red.answer(first)

        def has_another_key(_: RedDetector, __: Config, ___: StreamRequests, context: Context) -> StreamResponses:
            fail(context)
            yield from ()

        server.red.scripts = [drains, has_another_key]
        answers = await streamed(connect, [GREY] * 3)
        assert [answer.frame_id for answer in answers if answer.result is not None] == [1, 2, 3]
        assert [frame.frame_id for frame in sent_frames(server)] == [1, 2, 3]
        assert [config.resume_token for config in sent_configs(server)] == ["", "token", ""]
        assert [config.version for config in sent_configs(server)] == ["", "v3", "v3"]


class TestUpdate:
    async def test_returns_the_options_that_hold_from_then_on(self, connect: Connect, scene: Scene) -> None:
        frames = repeat(scene.rgb)
        async with connect() as detector, detector.stream(frames, mode="lossless", max_detections=9) as answers:
            used = await answers.update(confidence_threshold=0.5)
            assert (used["confidence_threshold"], used["max_detections"]) == (0.5, 9)
            assert answers.ready.options == used
            async for answer in answers:
                if answer.result is not None and answer.result.options == used:
                    break

    async def test_that_is_refused_raises_and_the_stream_goes_on(
        self, connect: Connect, server: Server, scene: Scene
    ) -> None:
        def refuses(red: RedDetector, config: Config, requests: StreamRequests, _: Context) -> StreamResponses:
            yield red.ready(config)
            for request in requests:
                if request.HasField("update"):
                    yield stream_pb2.StreamDetectResponse(updated={"error": {"code": 3, "message": "no cat"}})
                else:
                    yield red.answer(request)

        server.red.scripts = [refuses]
        async with connect() as detector, detector.stream([scene.rgb] * 20, mode="lossless") as answers:
            with pytest.raises(CallFailed, match="no cat"):
                await answers.update(classes=["cat"])
            with pytest.raises(ValueError, match="confidense"):
                await answers.update(confidense=1)
            assert len([answer async for answer in answers]) == 20

    async def test_after_the_last_frame_changes_nothing(self, connect: Connect) -> None:
        async with connect() as detector, detector.stream([GREY], max_detections=9) as answers:
            assert len([answer async for answer in answers]) == 1
            assert (await answers.update(max_detections=1))["max_detections"] == 9

    async def test_of_a_stream_that_fails_meanwhile_raises_the_failure(self, connect: Connect, server: Server) -> None:
        fail = server.failure(grpc.StatusCode.NOT_FOUND, "gone")

        def goes(red: RedDetector, config: Config, requests: StreamRequests, context: Context) -> StreamResponses:
            yield red.ready(config)
            while not next(requests).HasField("update"):
                pass
            fail(context)

        server.red.scripts = [goes]
        async with connect() as detector, detector.stream(repeat(GREY)) as answers:
            with pytest.raises(CallFailed, match="gone"):
                await answers.update(max_detections=1)
            with pytest.raises(CallFailed, match="gone"):
                async for _ in answers:
                    pass


class TestLeaving:
    def test_early_leaves_no_thread_and_no_descriptor_behind(self, server: Server, scene: Scene) -> None:
        with Detector(server.address) as detector:
            detector.health()
            before = open_descriptors()
            for _ in range(5):
                with detector.stream(repeat(scene.rgb), mode="lossless") as answers:
                    for answer in answers:
                        if answer.frame_id == 3:
                            break
                assert list(answers) == []
            wait_until(lambda: not stream_threads(), "all threads have ended")
            wait_until(lambda: open_descriptors() <= before, "all connections are closed")

    async def test_early_leaves_no_task_behind(self, server: Server, scene: Scene) -> None:
        async with AsyncDetector(server.address) as detector:
            await detector.health()
            before = open_descriptors()
            for _ in range(5):
                async with detector.stream(repeat(scene.rgb), mode="lossless") as answers:
                    async for answer in answers:
                        if answer.frame_id == 3:
                            break
                assert [answer async for answer in answers] == []
            await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()}, "all tasks have ended")
            await eventually(lambda: not stream_threads(), "all threads have ended")
            await eventually(lambda: open_descriptors() <= before, "all connections are closed")

    async def test_at_the_end_or_by_a_failure_leaves_nothing_either(self, connect: Connect, server: Server) -> None:
        assert len(await streamed(connect, [GREY] * 3)) == 3
        server.fail(grpc.StatusCode.NOT_FOUND, "gone")
        with pytest.raises(CallFailed):
            await streamed(connect, [GREY])
        await eventually(lambda: not stream_threads(), "all threads have ended")

    async def test_does_not_wait_for_ever_for_a_source_that_blocks(
        self, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in (aio, blocking):
            monkeypatch.setattr(module, "SOURCE_PATIENCE_S", 0.1)
        frames: queue.SimpleQueue[StreamFrame | None] = queue.SimpleQueue()
        frames.put(StreamFrame(GREY))
        async with connect() as detector, detector.stream(iter(frames.get, None)) as answers:
            assert (await anext(answers)).result is not None
        frames.put(None)
        await eventually(lambda: not stream_threads(), "the source's thread has ended")

    async def test_waits_for_a_frame_that_is_being_read(self, connect: Connect) -> None:
        reading = threading.Event()
        released: list[bool] = []

        def camera() -> Iterator[np.ndarray]:
            yield GREY
            reading.set()
            time.sleep(0.2)  # as a camera does
            released.append(False)
            yield GREY

        async with connect() as detector, detector.stream(camera()) as answers:
            await anext(answers)
            await asyncio.to_thread(reading.wait)
        assert released == [False]

    async def test_closes_a_generator_that_nobody_else_holds(self, connect: Connect) -> None:
        closed = []

        def camera() -> Iterator[np.ndarray]:
            try:
                while True:
                    yield GREY
            finally:
                closed.append(True)

        async with connect() as detector, detector.stream(camera(), mode="lossless") as answers:
            await anext(answers)
        assert closed

    async def test_by_cancellation_ends_the_call(self, server: Server) -> None:
        ended = threading.Event()

        def watched(red: RedDetector, config: Config, requests: StreamRequests, context: Context) -> StreamResponses:
            context.add_callback(ended.set)
            yield from red.answer_all(config, requests, context)

        server.red.scripts = [watched]
        first = asyncio.Event()

        async def follow() -> None:
            async with AsyncDetector(server.address) as detector, detector.stream(repeat(GREY)) as answers:
                async for _ in answers:
                    first.set()

        task = asyncio.create_task(follow())
        await first.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(ended.wait, 10)


def deaf(_: RedDetector, __: Config, requests: StreamRequests, ___: Context) -> StreamResponses:
    """Takes everything and says nothing until the caller has left."""
    for _request in requests:
        pass
    yield from ()


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """As `wait_until`, for conditions that the loop brings about."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)
    assert condition(), what


def open_descriptors() -> int:
    return psutil.Process().num_fds()


def stream_threads() -> list[str]:
    names = ("stream-", "_consume_request_iterator")  # ours, and that in which gRPC asks for what to send
    return [thread.name for thread in threading.enumerate() if any(name in thread.name for name in names)]
