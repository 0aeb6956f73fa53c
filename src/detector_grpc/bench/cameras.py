"""Live streams: pictures are taken at a fixed rate, whatever became of those before.

A camera whose stream ends opens another one, as cameras do. What it takes meanwhile counts as not sent, or a server
that dies would be measured by the frames before that alone.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from detector_grpc.bench.load import finished, sleep_until
from detector_grpc.client import CallFailed
from detector_grpc.client.stream.outage import Outage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from detector_grpc.bench.load import Window
    from detector_grpc.client.bare import BareStream, FrameAnswer

# What a server may take to take a stream on, to take a frame, or to answer the last ones.
PATIENCE_S = 10.0

_SILENT = CallFailed("DEADLINE_EXCEEDED", f"the server was silent for {PATIENCE_S:g} s")


@dataclass
class Frame:
    """One picture; times in seconds since the window began.

    Attributes:
        due_s: When it was taken.
        sent_s: When it was sent; None if it never was, as there was no stream.
        answered_s: When it was answered; None if it never was.
        answer: What the server says of it; None if it says nothing.
    """

    due_s: float
    sent_s: float | None = None
    answered_s: float | None = None
    answer: FrameAnswer | None = None


@dataclass
class Gap:
    """A time without a stream; times in seconds since the window began, negative in the warm-up.

    Attributes:
        began_s: When the stream ended early, or was not taken on.
        failure: Why.
        ended_s: When the next one was taken on; None if none was.
    """

    began_s: float
    failure: CallFailed
    ended_s: float | None = None


@dataclass
class Camera:
    """What became of one camera.

    Attributes:
        frames: Those that were due, in order, also those that do not count.
        gaps: When it had no stream, in order.
    """

    frames: list[Frame] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)


@dataclass(frozen=True)
class Filmed:
    """What cameras came to.

    Attributes:
        seconds: Length of the window, which is shorter than planned if the measurement was cut short.
        cameras: All of them.
        cpu_ms_per_frame: CPU time of this process, all its threads, for each frame that was sent; 0 if none was.
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
    shoot = _Shoot(open_stream, fps, window, stop, clock)
    filming = [_Filming(shoot, number, phase_s) for number, phase_s in enumerate(phases_s)]
    refusals = await asyncio.gather(*(each.open() for each in filming))
    cpu_s, begun_at = time.process_time(), clock() + window.warm_up_s
    await asyncio.gather(*(each.run(begun_at, refusal) for each, refusal in zip(filming, refusals, strict=True)))
    elapsed_s = max(clock() - begun_at, 0.0)
    sent = sum(frame.sent_s is not None for each in filming for frame in each.camera.frames)
    return Filmed(
        min(elapsed_s, window.seconds) if stop.is_set() else window.seconds,
        tuple(each.camera for each in filming),
        (time.process_time() - cpu_s) / sent * 1e3 if sent else 0.0,
        stop.is_set(),
    )


@dataclass(frozen=True)
class _Shoot:
    """What all cameras have in common; see `film`."""

    open_stream: Callable[[int], Awaitable[BareStream]]
    fps: float
    window: Window
    stop: asyncio.Event
    clock: Callable[[], float]


class _Filming:
    """One camera at work."""

    def __init__(self, shoot: _Shoot, number: int, phase_s: float) -> None:
        self.camera = Camera()
        self._shoot = shoot
        self._number = number
        self._phase_s = phase_s
        self._begun_at = 0.0
        self._stream: BareStream | None = None
        self._outage = Outage(math.inf)

    async def open(self) -> CallFailed | None:
        """Tries to open a stream, and returns why there is none."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                self._stream = await self._shoot.open_stream(self._number)
        except CallFailed as failure:
            return failure
        except TimeoutError:
            return _SILENT
        return None

    async def run(self, begun_at: float, refusal: CallFailed | None) -> None:
        """Takes all pictures of a window that begins at this time.

        Args:
            begun_at: By the clock.
            refusal: Why there is no stream yet, if there is none.
        """
        self._begun_at = begun_at
        if refusal is not None:
            self._begin_gap(refusal)
        while (stream := self._stream or await self._reopened()) is not None:
            if (failure := await self._used(stream)) is None:
                break
            self._stream = None
            self._begin_gap(failure)

    @property
    def _now_s(self) -> float:
        return self._shoot.clock() - self._begun_at

    @property
    def _due_s(self) -> float:
        """When the next frame is due."""
        return self._phase_s - self._shoot.window.warm_up_s + len(self.camera.frames) / self._shoot.fps

    def _begin_gap(self, failure: CallFailed) -> None:
        self.camera.gaps.append(Gap(self._now_s, failure))

    async def _reopened(self) -> BareStream | None:
        """Tries until there is a stream again; None if the measurement ends before."""
        gap, shoot = self.camera.gaps[-1], self._shoot

        async def try_on() -> None:
            failure: CallFailed | None = gap.failure
            while failure is not None:
                await sleep_until(self._outage.next_try_at(failure, shoot.clock()), shoot.clock)
                failure = await self.open()

        try:
            async with asyncio.timeout(max(shoot.window.seconds - self._now_s, 0.0)):
                await finished(try_on(), shoot.stop)
        except TimeoutError:
            until_s = shoot.window.seconds
        else:
            until_s = min(self._now_s, shoot.window.seconds)
        while self._due_s < until_s:
            self.camera.frames.append(Frame(self._due_s))
        if self._stream is not None:
            gap.ended_s = self._now_s
        return self._stream

    async def _used(self, stream: BareStream) -> CallFailed | None:
        """Sends what is due to the end of the measurement; returns how the stream failed if it did before."""
        sending, reading = asyncio.create_task(self._send(stream)), asyncio.create_task(self._read(stream))
        try:
            await asyncio.wait({sending, reading}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                reading.result()
                return CallFailed("UNAVAILABLE", "the server ended the stream")
            sending.result()
            # Not by a timeout, whose cancelling would be told as if the server had failed.
            await asyncio.wait({reading}, timeout=PATIENCE_S)
            if not reading.done():
                return _SILENT
            reading.result()
        except CallFailed as failure:
            return failure
        except TimeoutError:
            return _SILENT
        finally:
            stream.cancel()
            sending.cancel()
            reading.cancel()
            await asyncio.gather(sending, reading, return_exceptions=True)
        return None

    async def _send(self, stream: BareStream) -> None:
        frames, shoot = self.camera.frames, self._shoot
        while self._due_s < shoot.window.seconds:
            await sleep_until(self._begun_at + self._due_s, shoot.clock, shoot.stop)
            if shoot.stop.is_set():
                break
            frames.append(Frame(self._due_s, self._now_s))
            async with asyncio.timeout(PATIENCE_S):
                await stream.send(len(frames))
        await stream.half_close()

    async def _read(self, stream: BareStream) -> None:
        async for answer in stream.answers():
            self._outage.end()
            frame = self.camera.frames[answer.frame_id - 1]
            frame.answered_s, frame.answer = self._now_s, answer
