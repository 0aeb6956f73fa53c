"""Streams of the SDK to real servers: nothing is lost and nothing comes twice, whatever becomes of the servers."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import ExitStack
from itertools import repeat
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from support import sdk
from support.calls import SERVING, connected
from support.metrics import read_metrics
from support.onnx_files import tiny_onnx
from support.reference import DATA, coco_repository
from support.servers import server_process

from detector_grpc.client import CallFailed, Detector, StreamFrame, Tracking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.sdk import Flavour
    from support.servers import ServerProcess

    from detector_grpc.client import DetectionResult, StreamAnswer

FRAMES = 60
LOW = 0.05  # there are more boxes to compare than people
PICTURE = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()


@pytest.fixture(params=["blocking", "asyncio"])
def flavour(request: pytest.FixtureRequest) -> Flavour:
    return request.param


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    repository = coco_repository(tmp_path_factory.mktemp("models"), ["yolox_nano"])
    with server_process(repository=repository, models_default_version="yolox_nano") as running:
        wait_until_serving(running)
        yield running


@pytest.fixture(scope="module")
def video() -> list[StreamFrame]:
    """People who walk through."""
    capture = cv2.VideoCapture(str(DATA / "video" / "people.mp4"))
    images = [capture.read()[1] for _ in range(FRAMES)]
    capture.release()
    return [StreamFrame(cv2.imencode(".jpg", image)[1].tobytes(), n / 10, image) for n, image in enumerate(images)]


@pytest.fixture(scope="module")
def alone(coco: ServerProcess, video: list[StreamFrame]) -> list[DetectionResult]:
    """What Detect finds in each frame of the video."""
    with Detector(coco.address) as detector:
        return [detector.detect(frame.picture, confidence_threshold=LOW) for frame in video]


@pytest.mark.skipif(not DATA.exists(), reason="models and videos are not beside the project")
async def test_every_frame_is_answered_as_by_detect_in_order(
    coco: ServerProcess, video: list[StreamFrame], alone: list[DetectionResult], flavour: Flavour
) -> None:
    async with (
        sdk.opened(flavour, coco.address) as detector,
        detector.stream(video, mode="lossless", confidence_threshold=LOW) as answers,
    ):
        assert answers.ready.heartbeat_interval_s == 3
        got = [answer async for answer in answers]

    assert [answer.frame_id for answer in got] == list(range(1, FRAMES + 1))
    assert sum(map(len, alone)) > FRAMES
    for answer, frame, result in zip(got, video, alone, strict=True):
        assert answer.frame is frame
        assert answer.capture_time == frame.capture_time
        assert answer.result is not None
        assert (answer.result.model_digest, answer.result.options) == (result.model_digest, result.options)
        assert answer.result.class_name == result.class_name
        np.testing.assert_array_equal(answer.result.xyxy, result.xyxy)
        np.testing.assert_array_equal(answer.result.confidence, result.confidence)


class TestServersThatGo:
    """Two servers, of which the one that has the stream goes. Their default versions differ."""

    @pytest.fixture
    def servers(self, tmp_path: Path, half_second: int) -> Iterator[list[ServerProcess]]:
        key = tmp_path / "key"
        key.write_bytes(b"a secret of sixteen bytes or more")
        for version in ("v1", "v2"):
            tiny_onnx(tmp_path / "models" / "tiny" / version / "model.onnx", cost=max(1, half_second // 25))
        with ExitStack() as stack:
            running = [
                stack.enter_context(
                    server_process(
                        repository=tmp_path / "models",
                        streams_resume_key_file=key,
                        models_default_version=version,
                        runtime_workers=1,
                    )
                )
                for version in ("v1", "v2")
            ]
            for server in running:
                wait_until_serving(server)
            yield running

    @pytest.mark.parametrize(
        ("number", "mode"),
        [(signal.SIGTERM, "lossless"), (signal.SIGKILL, "lossless"), (signal.SIGKILL, "latest")],
        ids=["drain", "kill", "kill in mode latest"],
    )
    async def test_every_frame_has_one_answer_of_one_version(
        self, servers: list[ServerProcess], flavour: Flavour, number: signal.Signals, mode: str
    ) -> None:
        target = "ipv4:" + ",".join(server.address for server in servers)
        frames = [StreamFrame(PICTURE) for _ in range(FRAMES)]

        def source() -> Iterator[StreamFrame]:
            for frame in frames:
                if mode == "latest":
                    time.sleep(0.01)  # a camera
                yield frame

        got: list[StreamAnswer[Any]] = []
        async with (
            sdk.opened(flavour, target) as detector,
            detector.stream(source(), mode=mode, tracking=Tracking()) as answers,
        ):
            version = answers.ready.version
            first, second = sorted(servers, key=lambda server: -read_metrics(server).value("object_detection_streams"))
            async for answer in answers:
                got.append(answer)
                if len(got) == 10:
                    first.send(number)
            assert answers.ready.version == version

        assert [answer.frame_id for answer in got] == list(range(1, FRAMES + 1))
        assert all(answer.frame is frame for answer, frame in zip(got, frames, strict=True))
        results = [answer.result for answer in got if answer.result is not None]
        assert {result.version for result in results} == {version}
        assert len({result.request_id for result in results}) == 2
        assert got[-1].result is not None
        if mode == "lossless":
            assert len(results) == FRAMES
            track_ids = [result.track_id[0] for result in results if result.track_id[0] is not None]
            assert track_ids == sorted(track_ids)
            assert len(set(track_ids)) == 2
        if number is signal.SIGTERM:
            first.wait()
            second.wait_for_log("call", request_id=results[-1].request_id)
            looked_at = [looked_at_by(server) for server in (first, second)]
            assert min(looked_at) > 0
            assert sum(looked_at) == FRAMES

    def test_a_server_that_comes_back_goes_on(self, tmp_path: Path) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
        with Detector("localhost:1") as nobody, pytest.raises(CallFailed), nobody.stream([], reconnect_timeout_s=0):
            pass
        with server_process(repository=tmp_path) as first:
            wait_until_serving(first)
            with Detector(first.address) as detector, detector.stream(repeat(PICTURE), mode="lossless") as answers:
                assert next(answers).frame_id == 1
                first.send(signal.SIGKILL)
                first.wait()
                with server_process(repository=tmp_path, server_port=first.port):
                    request_id = answers.ready.request_id
                    for expected, answer in enumerate(answers, 2):
                        assert answer.frame_id == expected
                        assert answer.result is not None
                        if answer.result.request_id != request_id:
                            break

    def test_a_stream_moves_whenever_it_is_old_and_no_frame_is_lost(self, tmp_path: Path) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
        with server_process(repository=tmp_path, streams_max_age_s=0.2) as server:
            wait_until_serving(server)
            request_ids = []
            with Detector(server.address) as detector, detector.stream(repeat(PICTURE), mode="lossless") as answers:
                for expected, answer in enumerate(answers, 1):
                    assert answer.frame_id == expected
                    assert answer.result is not None
                    if answer.result.request_id not in request_ids:
                        request_ids.append(answer.result.request_id)
                    if len(request_ids) == 4:
                        break
            drained = [server.wait_for_log("call", request_id=request_id) for request_id in request_ids[:3]]
        assert [call["code"] for call in drained] == ["OK"] * 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, half_second: int) -> Iterator[ServerProcess]:
    """A server that looks at one frame at a time, for about 20 ms."""
    repository = tmp_path_factory.mktemp("models")
    tiny_onnx(repository / "tiny" / "v1" / "model.onnx", cost=max(1, half_second // 25))
    with server_process(repository=repository, runtime_workers=1) as running:
        wait_until_serving(running)
        yield running


class TestPace:
    async def test_latest_looks_at_the_newest_of_frames_that_come_too_fast(
        self, server: ServerProcess, flavour: Flavour
    ) -> None:
        frames = [StreamFrame(PICTURE) for _ in range(1000)]
        async with sdk.opened(flavour, server.address) as detector, detector.stream(frames) as answers:
            got = [answer async for answer in answers]
        assert all(answer.frame is frame for answer, frame in zip(got, frames, strict=True))
        assert {answer.dropped for answer in got} == {None, "superseded"}
        assert sum(answer.result is not None for answer in got) < 500
        assert got[-1].result is not None

    async def test_latest_stays_near_the_newest_for_a_caller_that_is_slow(
        self, server: ServerProcess, flavour: Flavour
    ) -> None:
        given: list[int] = []

        def camera() -> Iterator[StreamFrame]:
            for number in range(1, 301):
                given.append(number)
                time.sleep(0.005)
                yield StreamFrame(PICTURE)

        behind = []
        async with sdk.opened(flavour, server.address) as detector, detector.stream(camera()) as answers:
            async for answer in answers:
                if answer.result is not None:
                    behind.append(len(given) - answer.frame_id)
                    await asyncio.sleep(0.06)
        assert len(given) == 300
        # At most two results wait for the caller and two more come, 60 ms of his and twelve frames each.
        assert np.median(behind) <= 48

    async def test_lossless_waits_for_a_caller_that_is_slow(self, server: ServerProcess, flavour: Flavour) -> None:
        given: list[int] = []

        def recording() -> Iterator[StreamFrame]:
            for number in range(1, 31):
                given.append(number)
                yield StreamFrame(PICTURE)

        async with (
            sdk.opened(flavour, server.address) as detector,
            detector.stream(recording(), mode="lossless") as answers,
        ):
            most = answers.ready.max_frames_in_flight + 2
            async for answer in answers:
                assert answer.result is not None
                assert len(given) <= answer.frame_id + most
                await asyncio.sleep(0.03)
        assert len(given) == 30

    async def test_leaving_early_ends_the_stream_at_the_server(self, server: ServerProcess, flavour: Flavour) -> None:
        async with (
            sdk.opened(flavour, server.address) as detector,
            detector.stream(repeat(PICTURE), mode="lossless") as answers,
        ):
            request_id = answers.ready.request_id
            await anext(answers)
        logged = server.wait_for_log("call", request_id=request_id)
        assert logged["code"] == "CANCELLED"


def wait_until_serving(server: ServerProcess) -> None:
    with connected(server.address) as client:
        client.wait_for_status(SERVING)


def looked_at_by(server: ServerProcess) -> int:
    """Frames in which a server has looked for objects, by its log."""
    streams = [entry for entry in server.log("call") if "frames" in entry]
    return sum(entry["frames"].get("detected", 0) for entry in streams)
