"""Copies are bounded, counted, and nobody's business but their own."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from detector_grpc.interceptors.shadow import MAX_PAIRS, Shadow, ShadowLimits
from detector_grpc.serving.copies import Seen
from detector_grpc.serving.options import DetectOptions, RequestedOptions
from detector_grpc.serving.outcome import Call, Outcome
from detector_grpc.serving.pipeline import EncodedImage, PictureRequest, Result, Timing
from detector_grpc.vision.agreement import Labelled
from detector_grpc.vision.detections import Detections
from detector_grpc.vision.uncertainty import Uncertainty

TIMEOUT_S = 20
LABELS = {"model": "m", "version": "v1", "shadow": "v2"}
LIMITS = ShadowLimits(max_bytes=100, max_calls=2, max_per_s=1000)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


class Sender:
    """Answers when it is let."""

    def __init__(self, error: Exception | None = None) -> None:
        self.gate = asyncio.Event()
        self.asked: list[tuple[str, str, str]] = []
        self.at_once = self.most = 0
        self.error = error
        self.digest = "sha256:2"
        self.closed = False

    async def send(self, request: PictureRequest, model: str, version: str, request_id: str) -> Seen:
        assert request.options == RequestedOptions(confidence_threshold=0.3)
        self.asked.append((model, version, request_id))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await self.gate.wait()
            if self.error is not None:
                raise self.error
            return Seen(Labelled(np.array([[0, 0, 10, 10]], np.float32), ["bus"]), self.digest, 0.03)
        finally:
            self.at_once -= 1

    async def close(self) -> None:
        self.closed = True


def outcome(size_bytes: int = 10, shadow: str = "v2", frame_id: int | None = None, digest: str = "sha256:1") -> Outcome:
    request = PictureRequest(EncodedImage(bytes(size_bytes)), None, RequestedOptions(confidence_threshold=0.3))
    found = Detections(np.array([[0, 0, 10, 9]], np.float32), np.ones(1, np.float32), np.array([1], np.int32))
    result = Result(found, (64, 64), DetectOptions(), Timing(0.5, 0.001, 0.002, 0.01, 0.007), Uncertainty(0.0, ""))
    call = Call("/Detect", "id-1", model="m", version="v1", shadow=shadow)
    return Outcome(call, "ok", 0.5, request, result, digest, ("car", "bus"), frame_id=frame_id)


class Copies:
    """A Shadow and what it has counted."""

    def __init__(self, sender: Sender, limits: ShadowLimits = LIMITS) -> None:
        self.collectors = CollectorRegistry()
        self.shadow = Shadow(sender, limits, self.collectors, Clock())

    def count(self, name: str, **labels: str) -> float:
        return self.collectors.get_sample_value(f"object_detection_shadow_{name}", LABELS | labels) or 0

    async def ended(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(*self.shadow._tasks)


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_copy_is_compared_with_what_was_answered() -> None:
    sender = Sender()
    copies = Copies(sender)
    copies.shadow.observe(outcome())
    sender.gate.set()
    await copies.ended()
    assert sender.asked == [("m", "v2", "id-1")]
    assert copies.count("copies_total", outcome="compared") == 1
    assert copies.count("boxes_total", outcome="agree") == 1
    assert copies.count("pictures_total", same="true") == 1
    assert copies.count("duration_seconds_sum", side="first") == pytest.approx(0.02)  # without the queue
    assert copies.count("duration_seconds_sum", side="copy") == pytest.approx(0.03)
    assert copies.count("duration_difference_squares_seconds_total") == pytest.approx(1e-4)


@pytest.mark.parametrize("changed", ["first", "copy"])
async def test_what_was_counted_of_another_file_of_the_same_name_is_forgotten(changed: str) -> None:
    sender = Sender()
    sender.gate.set()
    copies = Copies(sender)
    for _ in range(3):
        copies.shadow.observe(outcome())
        copies.shadow.observe(outcome(shadow="v3"))
        await copies.ended()
    assert copies.count("copies_total", outcome="compared") == 3
    if changed == "copy":
        sender.digest = "sha256:3"
    copies.shadow.observe(outcome(digest="sha256:4" if changed == "first" else "sha256:1"))
    await copies.ended()
    assert copies.count("copies_total", outcome="compared") == 1
    assert copies.count("boxes_total", outcome="agree") == 1
    assert copies.count("box_moments_total", moment="nn") == 1
    assert copies.count("pictures_total", same="true") == 1
    assert copies.count("duration_seconds_count", side="first") == 1
    assert copies.count("duration_difference_squares_seconds_total") == pytest.approx(1e-4)
    assert copies.count("copies_total", outcome="compared", shadow="v3") == 3


async def test_nothing_is_copied_that_the_gateway_did_not_choose_or_that_has_no_answer() -> None:
    sender = Sender()
    copies = Copies(sender)
    copies.shadow.observe(outcome(shadow=""))
    copies.shadow.observe(outcome(frame_id=1))
    copies.shadow.observe(outcome(shadow="v1"))  # what answered itself
    copies.shadow.observe(outcome(shadow="no version, but\nany text"))
    copies.shadow.observe(Outcome(Call("/Detect", "id-1", shadow="v2"), "internal", 0.1))
    await turn()
    assert not sender.asked


async def test_copies_are_bounded_in_bytes_and_at_once_and_every_one_is_counted() -> None:
    sender = Sender()
    copies = Copies(sender)
    for _ in range(15):
        copies.shadow.observe(outcome(size_bytes=10))
    await turn()
    assert copies.count("copies_total", outcome="dropped") == 5
    sender.gate.set()
    await copies.ended()
    assert sender.most == 2
    assert copies.count("copies_total", outcome="compared") == 10
    copies.shadow.observe(outcome(size_bytes=100))  # the room was given back
    await copies.ended()
    assert copies.count("copies_total", outcome="compared") == 11


async def test_copies_that_wait_are_bounded_in_number() -> None:
    sender = Sender()
    copies = Copies(sender, LIMITS._replace(max_bytes=10**9, max_per_s=10**6))
    for _ in range(1000):
        copies.shadow.observe(outcome())
    assert copies.count("copies_total", outcome="dropped") == 1000 - 32 * LIMITS.max_calls
    await copies.shadow.close()


async def test_pairs_of_versions_that_have_series_are_bounded_in_number() -> None:
    sender = Sender()
    sender.gate.set()
    copies = Copies(sender)
    for number in range(1000):
        copies.shadow.observe(outcome(shadow=f"made-up-{number}"))
        await copies.ended()
    assert len(sender.asked) == MAX_PAIRS


async def test_copies_are_bounded_in_number_a_second() -> None:
    sender = Sender()
    sender.gate.set()
    copies = Copies(sender, LIMITS._replace(max_per_s=10))
    for _ in range(100):  # in one second of the clock
        copies.shadow.observe(outcome(size_bytes=1))
        await turn()
    await copies.ended()
    compared, dropped = (copies.count("copies_total", outcome=became) for became in ("compared", "dropped"))
    assert compared + dropped == 100
    assert 9 <= compared <= 21  # those of that second, and those saved from the one before


async def test_a_copy_that_fails_is_counted_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    sender = Sender(ConnectionError("nobody there"))
    sender.gate.set()
    copies = Copies(sender)
    copies.shadow.observe(outcome())
    await copies.ended()
    assert copies.count("copies_total", outcome="failed") == 1
    assert copies.count("pictures_total", same="true") == 0
    assert "a copy failed" in caplog.text


async def test_what_is_not_answered_at_the_end_is_given_up() -> None:
    sender = Sender()
    copies = Copies(sender)
    copies.shadow.observe(outcome())
    await turn()
    await copies.shadow.close()
    assert sender.closed
    assert copies.count("copies_total", outcome="dropped") == 1
