"""Pictures are chosen, looked at and told of, and whatever becomes of that is counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from detector_grpc.drift.features import NAMES
from detector_grpc.drift.observation import Watched
from detector_grpc.interceptors import drift
from detector_grpc.interceptors.drift import MAX_KEPT, DriftObserver, SampleLimits
from detector_grpc.serving.options import DetectOptions
from detector_grpc.serving.outcome import Call, Outcome
from detector_grpc.serving.pipeline import Result, Timing
from detector_grpc.vision.detections import Detections
from detector_grpc.vision.sample import sample
from detector_grpc.vision.uncertainty import Uncertainty

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detector_grpc.drift.observation import Observation

TIMEOUT_S = 20
V1 = Watched("m", "v1")
IMAGE = np.full((60, 80, 3), 90, np.uint8)


class Sender:
    def __init__(self) -> None:
        self.told: list[tuple[Watched, str, list[Observation], int]] = []
        self.error: Exception | None = None
        self.closed = False

    async def send(self, watched: Watched, digest: str, observations: Sequence[Observation], lost: int) -> None:
        if self.error is not None:
            raise self.error
        self.told.append((watched, digest, list(observations), lost))

    async def close(self) -> None:
        self.closed = True


class Watch:
    """An observer, what it tells, and what it counts."""

    def __init__(self, rate: float = 1.0, max_per_s: float = 1000.0) -> None:
        self.now = 100.0
        self.chances: Iterator[float] = iter([])
        self.sender = Sender()
        self.collectors = CollectorRegistry()
        self.observer = DriftObserver(
            self.sender,
            SampleLimits(rate, max_per_s),
            self.collectors,
            lambda: self.now,
            lambda: next(self.chances, 0.0),
        )

    def count(self, outcome: str) -> float:
        labels = {"model": "m", "version": "v1", "outcome": outcome}
        return self.collectors.get_sample_value("object_detection_drift_observations_total", labels) or 0

    async def looked(self) -> None:
        """All that was kept has been looked at."""
        async with asyncio.timeout(TIMEOUT_S):
            while self.observer._kept:  # noqa: ASYNC110 - threads of others set no event
                await asyncio.sleep(0)

    async def told(self) -> None:
        await self.looked()
        await self.observer._tell()


def call(version: str = "v1", **fields: str) -> Call:
    return Call("/Detect", "id-1", model="m", version=version, **fields)


def outcome(*, sampled: bool = True, of: Call | None = None) -> Outcome:
    found = Detections(np.array([[0, 0, 40, 30]], np.float32), np.ones(1, np.float32), np.array([1], np.int32))
    result = Result(
        found,
        (80, 60),
        DetectOptions(),
        Timing(0, 0, 0, 0, 0),
        Uncertainty(0.0, ""),
        sample(IMAGE) if sampled else None,
    )
    return Outcome(of or call(), "ok", 0.5, None, result, "sha256:1", ("car", "bus"))


async def test_what_was_kept_of_a_picture_is_told() -> None:
    watch = Watch()

    watch.observer.observe(outcome(of=call(stream_id="hall")))
    await watch.told()

    ((watched, digest, (observation,), lost),) = watch.sender.told
    assert (watched, digest, lost) == (V1, "sha256:1", 0)
    numbers = dict(zip(NAMES, observation.values.tolist(), strict=True))
    assert numbers["brightness"] == 90
    assert numbers["box_size"] == pytest.approx(0.5)
    assert observation.classes == {"bus": 1}
    assert observation.group == "hall"
    assert watch.count("told") == 1


async def test_pictures_of_which_nothing_was_kept_are_nobodys_business() -> None:
    watch = Watch()

    watch.observer.observe(outcome(sampled=False))
    watch.observer.observe(Outcome(call(), "internal", 0.1))
    await watch.told()

    assert watch.sender.told == []


def test_a_share_of_pictures_is_chosen_and_copies_never() -> None:
    watch = Watch(rate=0.25)
    watch.chances = iter([0.24, 0.25, 0.9, 0.0])

    chosen = []
    for _ in range(4):
        watch.now += 1
        chosen.append(watch.observer.wants(call()))

    assert chosen == [True, False, False, True]
    assert not watch.observer.wants(call(copy_of="id-0"))


def test_each_version_has_so_many_a_second() -> None:
    watch = Watch(max_per_s=5)
    chosen = 0
    for _ in range(1000):
        watch.now += 0.01
        chosen += watch.observer.wants(call())

    assert chosen == pytest.approx(50, abs=6)
    assert watch.observer.wants(call("v2"))


async def test_what_cannot_be_told_is_lost_and_counted_and_said_later() -> None:
    watch = Watch()
    watch.sender.error = OSError("away")
    for _ in range(3):
        watch.observer.observe(outcome())
    await watch.told()
    assert (watch.count("told"), watch.count("lost")) == (0, 3)

    watch.sender.error = None
    watch.observer.observe(outcome())
    await watch.told()
    watch.observer.observe(outcome())
    await watch.told()

    assert [lost for *_, lost in watch.sender.told] == [3, 0]
    assert (watch.count("told"), watch.count("lost")) == (2, 3)


async def test_pictures_that_come_faster_than_they_are_looked_at_are_lost_and_counted() -> None:
    watch = Watch()
    for _ in range(MAX_KEPT + 10):
        watch.observer.observe(outcome())
    await watch.told()

    assert (watch.count("told"), watch.count("lost")) == (MAX_KEPT, 10)


async def test_a_batch_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "MAX_BATCH", 5)
    watch = Watch()
    for _ in range(8):
        watch.observer.observe(outcome())
    await watch.told()

    assert (watch.count("told"), watch.count("lost")) == (5, 3)


async def test_a_picture_that_cannot_be_looked_at_is_lost_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(drift, "observe", fail)
    watch = Watch()
    watch.observer.observe(outcome())
    await watch.looked()
    await asyncio.sleep(0)

    assert watch.count("lost") == 1
    assert "could not be observed" in caplog.text


async def test_versions_and_files_are_told_apart() -> None:
    watch = Watch()
    watch.observer.observe(outcome())
    watch.observer.observe(outcome(of=call("v2")))
    await watch.told()

    assert {watched for watched, *_ in watch.sender.told} == {V1, Watched("m", "v2")}


async def test_at_the_end_all_is_told() -> None:
    watch = Watch()
    watch.observer.observe(outcome())
    await watch.looked()

    await watch.observer.close()

    assert len(watch.sender.told) == 1
    assert watch.sender.closed


async def test_what_is_on_its_way_at_the_end_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "SEND_EVERY_S", 0)
    watch, begun, going_on = Watch(), asyncio.Event(), asyncio.Event()
    send = watch.sender.send

    async def wait_and_send(*arguments: Any) -> None:
        begun.set()
        await going_on.wait()
        await send(*arguments)

    watch.sender.send = wait_and_send
    watch.observer.observe(outcome())
    running = asyncio.create_task(watch.observer.run())
    async with asyncio.timeout(TIMEOUT_S):
        await begun.wait()
        running.cancel()
        closing = asyncio.create_task(watch.observer.close())
        await asyncio.sleep(0)
        going_on.set()
        await closing

    assert (watch.count("told"), watch.count("lost")) == (1, 0)
    assert watch.sender.closed


async def test_a_version_that_cannot_be_told_of_keeps_no_other_waiting() -> None:
    watch = Watch()
    told, send = asyncio.Event(), watch.sender.send

    async def send_v2_first(watched: Watched, *arguments: Any) -> None:
        if watched == V1:
            await told.wait()
        await send(watched, *arguments)
        told.set()

    watch.sender.send = send_v2_first
    watch.observer.observe(outcome())
    watch.observer.observe(outcome(of=call("v2")))
    async with asyncio.timeout(TIMEOUT_S):
        await watch.told()

    assert [watched.version for watched, *_ in watch.sender.told] == ["v2", "v1"]


def test_what_is_counted_is_there_from_the_start() -> None:
    watch = Watch()
    watch.observer.wants(call())

    for each in ("told", "lost"):
        labels = {"model": "m", "version": "v1", "outcome": each}
        assert watch.collectors.get_sample_value("object_detection_drift_observations_total", labels) == 0
