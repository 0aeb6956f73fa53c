"""Identities along real video: as many as a person counts, and they survive whatever happens to a stream.

Video and model are not part of the project; they lie in `shared/data` beside it.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import cv2
import grpc
import pytest
from support.calls import SERVING, connected, failure
from support.reference import DATA, coco_repository
from support.rich_errors import reason_of, violations_of
from support.servers import BUNDLED_MODELS, SOURCES, server_process
from support.streams import LATEST, LOSSLESS, Stream, config, frame

from detector_grpc._gen.detector.v1.detection_pb2 import DetectOptions
from detector_grpc._gen.detector.v1.stream_pb2 import FrameResult, Tracking

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from support.calls import Client

needs_video = pytest.mark.skipif(not DATA.exists(), reason="the video and the model are not beside the project")


def video(name: str, every: int = 1, most: int = 10_000) -> list[bytes]:
    """Every so many frames of a file, as JPEG."""
    capture, frames = cv2.VideoCapture(str(DATA / "video" / name)), list[bytes]()
    while len(frames) < most and capture.grab():
        _, image = capture.retrieve()
        frames.append(cv2.imencode(".jpg", image)[1].tobytes())
        for _ in range(every - 1):
            capture.grab()
    capture.release()
    return frames


def identities(results: Iterable[FrameResult]) -> list[set[int]]:
    return [
        {detection.track_id for detection in result.detections.detections if detection.HasField("track_id")}
        for result in results
    ]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco_repository(tmp_path_factory.mktemp("models"), ["yolox_nano"])


@pytest.fixture(scope="module")
def coco(repository: Path) -> Iterator[Client]:
    with (
        server_process(repository=repository, models_default_version="yolox_nano") as server,
        connected(server.address) as client,
    ):
        client.wait_for_status(SERVING)
        yield client


@needs_video
@pytest.mark.parametrize(
    ("name", "class_name", "counted"),
    [
        ("people.mp4", "person", 6),  # one by one, each comes in, stands for a while and leaves
        ("bottles.mp4", "bottle", 7),  # three, of which some are taken away for seconds and put back, four in all
    ],
)
def test_there_are_as_many_identities_as_a_person_counts(
    coco: Client, name: str, class_name: str, counted: int
) -> None:
    frames = video(name, every=3)
    with Stream(coco) as stream:
        stream.send(
            config(LOSSLESS, tracking=Tracking(max_lost_frames=10), options=DetectOptions(classes=[class_name])),
            *[frame(number, each) for number, each in enumerate(frames, 1)],
        )
        stream.half_close()
        stream.ready()
        found = identities(stream.results())
    assert len(found) == len(frames)
    assert set.union(*found) == set(range(1, counted + 1))


def bursts(client: Client, tracking: Tracking) -> list[FrameResult]:
    """What is found of three bottles that stand, when ten frames at once come again and again, each tenth broken."""
    bottles, burst, results = video("bottles.mp4", most=150), 10, list[FrameResult]()
    with Stream(client) as stream:
        stream.send(config(LATEST, tracking=tracking))
        stream.ready()
        for first in range(0, len(bottles), burst):
            stream.send(frame(first + 1, b"no picture"))
            stream.send(*[frame(first + number, bottles[first + number - 1]) for number in range(2, burst + 1)])
            results += [stream.result() for _ in range(burst)]
    assert {"detections", "dropped", "error"} == {result.WhichOneof("outcome") for result in results}
    looked_at = [result for result in results if result.WhichOneof("outcome") == "detections"]
    assert len(looked_at) >= len(bottles) // burst
    return looked_at


@needs_video
def test_identities_survive_frames_that_are_dropped_or_broken(coco: Client) -> None:
    found = identities(bursts(coco, Tracking()))
    assert found == [set(), *([{1, 2, 3}] * (len(found) - 1))]


@needs_video
def test_frames_that_are_dropped_count_as_lost(coco: Client) -> None:
    assert max(set.union(*identities(bursts(coco, Tracking(max_lost_frames=1))))) > 3


@needs_video
@pytest.mark.parametrize(("allowed", "after"), [(3, {1, 2, 3}), (2, {4, 5, 6})])
def test_frames_that_fail_count_as_lost(coco: Client, allowed: int, after: set[int]) -> None:
    (bottles,), broken = video("bottles.mp4", most=1), b"no picture"
    frames = [bottles, bottles, broken, broken, broken, bottles, bottles]
    with Stream(coco) as stream:
        stream.send(config(tracking=Tracking(max_lost_frames=allowed)))
        stream.send(*[frame(number, each) for number, each in enumerate(frames, 1)])
        stream.half_close()
        stream.ready()
        found = identities(stream.results())
    assert (found[1], found[-1]) == ({1, 2, 3}, after)


@needs_video
def test_a_stream_that_goes_on_at_another_server_gives_no_identity_again(repository: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"a secret of sixteen bytes or more")
    settings = {"repository": repository, "models_default_version": "yolox_nano", "streams_resume_key_file": key}
    bottles, nothing = video("bottles.mp4", most=1), video("people.mp4", most=1)
    # Every four frames there are new identities, so also in the frames that are taken, but not answered, at the end.
    frames = 15 * [*bottles, *bottles, *nothing, *nothing]
    forgetful = Tracking(max_lost_frames=1)
    with server_process(**settings) as first, server_process(**settings) as second:
        with connected(first.address) as client, Stream(client) as stream:
            client.wait_for_status(SERVING)
            stream.send(config(tracking=forgetful), *[frame(number, each) for number, each in enumerate(frames, 1)])
            stream.ready()
            results = [stream.result() for _ in range(6)]
            first.send(signal.SIGTERM)
            rest = list(stream.call)
        (drain,) = [answer.drain for answer in rest if answer.WhichOneof("message") == "drain"]
        results += [answer.result for answer in rest if answer.WhichOneof("message") == "result"]
        before = set.union(*identities(results))

        with connected(second.address) as client, Stream(client) as stream:
            client.wait_for_status(SERVING)
            stream.send(config(tracking=forgetful, resume_token=drain.resume_token))
            stream.send(*[frame(drain.last_frame_id + number, each) for number, each in enumerate(2 * bottles, 1)])
            stream.half_close()
            stream.ready()
            after = set.union(*identities(stream.results()))
    assert before == set(range(1, len(before) + 1))
    assert after == {len(before) + number for number in (1, 2, 3)}


def test_a_stream_that_does_not_ask_for_identities_has_none(codes: Client) -> None:
    picture = (BUNDLED_MODELS.parent / "pictures" / "desk.jpg").read_bytes()
    with Stream(codes) as stream:
        stream.send(config(), *[frame(number, picture) for number in range(1, 4)])
        stream.half_close()
        stream.ready()
        results = list(stream.results())
    assert results[-1].detections.detections
    assert set.union(*identities(results)) == set()


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (Tracking(max_lost_frames=0), "config.tracking.max_lost_frames"),
        (Tracking(max_lost_frames=10_001), "config.tracking.max_lost_frames"),
        (Tracking(min_confidence=1.5), "config.tracking.min_confidence"),
        (Tracking(min_confidence=float("nan")), "config.tracking.min_confidence"),
    ],
)
def test_what_is_out_of_range_is_refused(codes: Client, asked: Tracking, field: str) -> None:
    with Stream(codes) as stream:
        stream.send(config(tracking=asked))
        error = failure(stream.answer)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in violations_of(error)


def test_a_server_without_the_extra_refuses_and_says_what_to_install(tmp_path: Path) -> None:
    absent = tmp_path / "scipy" / "__init__.py"
    absent.parent.mkdir()
    absent.write_text("raise ImportError", encoding="utf-8")
    settings = {"PYTHONPATH": f"{tmp_path}:{SOURCES}", "repository": BUNDLED_MODELS}
    with server_process(**settings) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        with Stream(client) as stream:
            stream.send(config(tracking=Tracking()))
            error = failure(stream.answer)
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "TRACKING_NOT_INSTALLED")
        assert "detector-grpc[tracking]" in error.details()
        with Stream(client) as stream:
            stream.send(config())
            stream.ready()
