"""Live streams: pictures are taken at a fixed rate, whatever became of those before."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from detector_grpc.bench.load import sleep_until
from detector_grpc.client import CallFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from detector_grpc.bench.load import Window
    from detector_grpc.client.bare import BareStream, FrameAnswer

# What a server may take to answer the last frames, or to take one.
PATIENCE_S = 10.0

_SILENT = CallFailed("DEADLINE_EXCEEDED", f"the server was silent for {PATIENCE_S:g} s")


@dataclass
class Frame:
    """One picture; times in seconds since the window began.

    Attributes:
        due_s: When it was taken.
        sent_s: When it was sent.
        answered_s: When it was answered; None if it never was.
        answer: What the server says of it; None if it says nothing.
    """

    due_s: float
    sent_s: float
    answered_s: float | None = None
    answer: FrameAnswer | None = None


@dataclass
class Camera:
    """What became of one stream.

    Attributes:
        frames: Those that were sent, in order, also those that do not count.
        failure: Why it ended early, or was not taken on; None if it ended well.
    """

    frames: list[Frame] = field(default_factory=list)
    failure: CallFailed | None = None


@dataclass(frozen=True)
class Filmed:
    """What cameras came to.

    Attributes:
        seconds: Length of the window, which is shorter than planned if the measurement was cut short.
        cameras: All of them.
        cpu_ms_per_frame: CPU time of this process, all its threads, for each frame that was sent.
        cut_short: Whether it was stopped early.
    """

    seconds: float
    cameras: tuple[Camera, ...]
    cpu_ms_per_frame: float
    cut_short: bool


async def film(
    open_stream: Callable[[int], Awaitable[BareStream]],
    phases_s: list[float],
    fps: float,
    window: Window,
    stop: asyncio.Event,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Filmed:
    """Sends pictures until the window ends or `stop` is set, and waits for all answers.

    Args:
        open_stream: Opens the stream of a camera by its number.
        phases_s: When each camera takes its first picture, in seconds.
        fps: Pictures per second and camera.
        window: When frames count.
        stop: Ends the measurement early.
        clock: The time now, in seconds.
    """
    cameras = [Camera() for _ in phases_s]
    streams = await asyncio.gather(*(_opened(open_stream, number, camera) for number, camera in enumerate(cameras)))
    cpu_s = time.process_time()
    shoot = _Shoot(fps, window, stop, clock, clock() + window.warm_up_s)
    await asyncio.gather(
        *(
            shoot.run(stream, camera, phase_s)
            for stream, camera, phase_s in zip(streams, cameras, phases_s, strict=True)
            if stream is not None
        )
    )
    elapsed_s = max(clock() - shoot.begun_at, 0.0)
    sent = sum(len(camera.frames) for camera in cameras)
    return Filmed(
        min(elapsed_s, window.seconds) if stop.is_set() else window.seconds,
        tuple(cameras),
        (time.process_time() - cpu_s) / max(sent, 1) * 1e3,
        stop.is_set(),
    )


async def _opened(
    open_stream: Callable[[int], Awaitable[BareStream]], number: int, camera: Camera
) -> BareStream | None:
    try:
        return await open_stream(number)
    except CallFailed as failure:
        camera.failure = failure
        return None


@dataclass(frozen=True)
class _Shoot:
    """What all cameras have in common; see `film`."""

    fps: float
    window: Window
    stop: asyncio.Event
    clock: Callable[[], float]
    begun_at: float

    async def run(self, stream: BareStream, camera: Camera, phase_s: float) -> None:
        reading = asyncio.create_task(self._read(stream, camera))
        try:
            await self._send(stream, camera, phase_s, reading)
            # Not by a timeout, whose cancelling would be told as if the server had failed.
            await asyncio.wait({reading}, timeout=PATIENCE_S)
            if reading.done():
                await reading
            else:
                camera.failure = _SILENT
        except CallFailed as failure:
            camera.failure = failure
        except TimeoutError:
            camera.failure = _SILENT
        finally:
            stream.cancel()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _send(self, stream: BareStream, camera: Camera, phase_s: float, reading: asyncio.Task[None]) -> None:
        for number in itertools.count():
            due_s = phase_s - self.window.warm_up_s + number / self.fps
            if due_s >= self.window.seconds:
                break
            await sleep_until(self.begun_at + due_s, self.clock, self.stop)
            if self.stop.is_set():
                break
            if reading.done():
                await reading
                raise CallFailed("UNAVAILABLE", "the server ended the stream")
            camera.frames.append(Frame(due_s, self.clock() - self.begun_at))
            async with asyncio.timeout(PATIENCE_S):
                await stream.send(len(camera.frames))
        await stream.half_close()

    async def _read(self, stream: BareStream, camera: Camera) -> None:
        async for answer in stream.answers():
            frame = camera.frames[answer.frame_id - 1]
            frame.answered_s, frame.answer = self.clock() - self.begun_at, answer
