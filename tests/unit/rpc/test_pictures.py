"""Which pictures pass which others on their way to a worker."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
import pytest
from support.loading import Loading
from support.sessions import FakeSession

from detector_grpc.errors import QueueFull
from detector_grpc.rpc.pictures import Pictures, detect_answer
from detector_grpc.rpc.stream_frames import Served, StreamLimits
from detector_grpc.serving.budget import Shares
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.outcome import CURRENT_CALL, Call
from detector_grpc.serving.pipeline import EncodedImage, PictureRequest
from detector_grpc.serving.scheduler import Scheduler

if TYPE_CHECKING:
    from pathlib import Path

    from detector_grpc.rpc.metadata import Context

TIMEOUT_S = 20
PICTURE = cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
REQUEST = PictureRequest(EncodedImage(PICTURE), None, RequestedOptions())


class Held(FakeSession):
    """Answers when the gate is open."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__()
        self._gate = gate

    def run(self, feeds: Any, outputs: Any) -> Any:
        assert self._gate.wait(TIMEOUT_S)
        return super().run(feeds, outputs)


class NoDeadline:
    """What a caller says who says nothing."""

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def time_remaining(self) -> None:
        return None


class Answering:
    """One worker, and a queue of one for each caller."""

    def __init__(self, loading: Loading) -> None:
        self.gate = threading.Event()
        self.loading = loading
        self.scheduler = Scheduler(1, 1)
        limits = StreamLimits(max_frames_in_flight=3, max_frame_bytes=9, config_timeout_s=9, write_timeout_s=9)
        served = Served(self.scheduler, Shares.of(1000, 0), limits, lambda _: None)
        self._pictures = Pictures(loading.registry, served)

    async def look(self, copy_of: str = "") -> str:
        """Has a picture looked at; the version that did."""
        CURRENT_CALL.set(Call("/Detect", "id", copy_of=copy_of))
        with self._pictures.observed(cast("Context", NoDeadline())) as picture:
            picture.choose("", "")
            return (await picture.answer(REQUEST, detect_answer)).version


@pytest.fixture
async def answering(tmp_path: Path) -> Answering:
    loading = Loading(tmp_path, [("yolo", "v1")])
    answering = Answering(loading)
    loading.open_session = lambda _: Held(answering.gate)
    answering.gate.set()
    await loading.loader.load_all()
    answering.gate.clear()
    return answering


async def started(answering: Answering, depth: int, *copies_of: str) -> list[asyncio.Task[str]]:
    """Calls that have begun; so many of all so far wait then."""
    tasks = [asyncio.create_task(answering.look(copy_of)) for copy_of in copies_of]
    for _ in range(5):
        await asyncio.sleep(0)
    assert answering.scheduler.depth == depth
    return tasks


async def test_no_call_waits_for_copies(answering: Answering) -> None:
    # One copy gets on beside the calls, for which all of the workers are there.
    copies = await started(answering, 1, "a", "b")
    calls = await started(answering, 1, "")
    calls += await started(answering, 2, "")
    answering.gate.set()
    assert await asyncio.wait_for(asyncio.gather(*copies, *calls), TIMEOUT_S) == ["v1"] * 4
    await answering.scheduler.close()


async def test_copies_have_a_queue_of_their_own_that_is_no_longer_than_that_of_calls(answering: Answering) -> None:
    tasks = await started(answering, 1, "", "")
    tasks += await started(answering, 2, "a", "b")
    for copy_of in ("", "c"):
        with pytest.raises(QueueFull):
            await answering.look(copy_of)
    answering.gate.set()
    assert await asyncio.wait_for(asyncio.gather(*tasks), TIMEOUT_S) == ["v1"] * 4
    await answering.scheduler.close()
