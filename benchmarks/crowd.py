"""Well-behaved cameras among clients that do everything wrong: does anybody notice, and does anything stay behind?

Starts `detector-grpc serve --demo`, and sends it a few LATEST streams at a fixed rate: alone at first, then for as long
among many clients that misbehave, each in one of the ways below, again and again. Prints the ages of the good streams'
frames in both halves, the most memory that the server held, and what it holds before and after.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.request import urlopen

import grpc
import grpc.aio
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from detector_grpc import app
from detector_grpc._gen.detector.v1.detector_service_pb2_grpc import DetectorServiceStub
from detector_grpc._gen.detector.v1.image_pb2 import Image
from detector_grpc._gen.detector.v1.stream_pb2 import (
    DELIVERY_MODE_LATEST,
    DELIVERY_MODE_LOSSLESS,
    Frame,
    StreamConfig,
    StreamDetectRequest,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

PICTURE = (app.BUNDLED / "pictures" / "desk.jpg").read_bytes()
MIB = 1024 * 1024
PAUSE_S = 0.5  # between two tries of one misbehaving client
PATIENCE_S = 60  # more than the server has with anybody


def config(mode: int = DELIVERY_MODE_LATEST) -> StreamDetectRequest:
    """The first message of a stream."""
    return StreamDetectRequest(config=StreamConfig(model=app.BUNDLED_MODEL, mode=mode))


def frame(frame_id: int, encoded: bytes = PICTURE) -> StreamDetectRequest:
    """One frame."""
    return StreamDetectRequest(frame=Frame(frame_id=frame_id, image=Image(encoded=encoded)))


async def good(stub: DetectorServiceStub, frames_per_s: float, until: float, ages_ms: list[float]) -> None:
    """Sends frames at a fixed rate, and reads their answers."""

    async def frames() -> AsyncIterator[StreamDetectRequest]:
        yield config()
        begun = time.monotonic()
        for number in itertools.count(1):
            await asyncio.sleep(max(0.0, begun + number / frames_per_s - time.monotonic()))
            if time.monotonic() >= until:
                return
            yield frame(number)

    sent = answered = 0
    async for answer in stub.StreamDetect(frames()):
        if answer.WhichOneof("message") == "result":
            answered += 1
            sent = max(sent, answer.result.frame_id)
            if answer.result.WhichOneof("outcome") == "detections":
                ages_ms.append(answer.result.age_ms)
    if sent != answered:
        raise SystemExit(f"{sent} frames were sent, {answered} answered")


async def never_reads(stub: DetectorServiceStub) -> None:
    """Sends as much as is taken, and reads nothing, until the server has had enough."""
    call = stub.StreamDetect()
    await call.write(config(DELIVERY_MODE_LOSSLESS))
    for number in itertools.count(1):
        await call.write(frame(number))


async def vanishes(stub: DetectorServiceStub) -> None:
    """Leaves in the middle of its frames."""
    call = stub.StreamDetect()
    await call.write(config(DELIVERY_MODE_LOSSLESS))
    for number in range(1, 4):
        await call.write(frame(number))
    call.cancel()


async def half_closes(stub: DetectorServiceStub) -> None:
    """Says that it is done before it has begun."""
    call = stub.StreamDetect()
    await call.done_writing()
    await call.read()


async def sends_nothing(stub: DetectorServiceStub) -> None:
    """Opens a stream, and says no more."""
    call = stub.StreamDetect()
    await call.write(config())
    await asyncio.sleep(5)
    call.cancel()


async def sends_rubbish(stub: DetectorServiceStub) -> None:
    """Sends pictures that are none, in no order."""
    call = stub.StreamDetect()
    await call.write(config())
    for _ in range(100):
        await call.write(frame(random.randrange(2**63), os.urandom(1000)))  # noqa: S311 - no secret
        await call.read()
    await call.done_writing()


async def sends_large_rubbish(stub: DetectorServiceStub) -> None:
    """Sends more than any frame may have."""
    call = stub.StreamDetect()
    await call.write(config())
    await call.write(frame(1, bytes(16 * MIB)))
    await call.read()
    await call.read()
    call.cancel()


async def skips_the_config(stub: DetectorServiceStub) -> None:
    """Begins with a frame."""
    call = stub.StreamDetect()
    await call.write(frame(1))
    await call.read()


async def says_it_twice(stub: DetectorServiceStub) -> None:
    """Sends a second config."""
    call = stub.StreamDetect()
    await call.write(config())
    await call.write(config())
    await call.read()
    await call.read()


WAYS: tuple[Callable[[DetectorServiceStub], Awaitable[None]], ...] = (
    never_reads,
    vanishes,
    half_closes,
    sends_nothing,
    sends_rubbish,
    sends_large_rubbish,
    skips_the_config,
    says_it_twice,
)


async def bad(target: str, which: int, until: float) -> int:
    """Misbehaves until the time is over, on a connection of its own; returns how often."""
    times = 0
    while time.monotonic() < until:
        async with grpc.aio.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await WAYS[which % len(WAYS)](DetectorServiceStub(channel))
            except (grpc.RpcError, asyncio.InvalidStateError, asyncio.CancelledError, TimeoutError):
                pass
        times += 1
        await asyncio.sleep(PAUSE_S)
    return times


class Held(NamedTuple):
    """What the server holds."""

    rss_mib: int
    fds: int
    threads: int
    streams: int
    queue: int

    @classmethod
    def by(cls, process: psutil.Process, metrics_url: str) -> Held:
        """Looks now."""
        with urlopen(metrics_url) as response:  # noqa: S310 - our own server
            lines = dict(line.rsplit(" ", 1) for line in response.read().decode().splitlines() if line[0] != "#")
        return cls(
            process.memory_info().rss // MIB,
            process.num_fds(),
            process.num_threads(),
            int(float(lines["object_detection_streams"])),
            int(float(lines["object_detection_queue_depth"])),
        )


async def measure(arguments: argparse.Namespace, address: str, metrics_url: str, process: psutil.Process) -> None:
    """Runs both halves, and prints what came of them."""
    ages: dict[str, list[float]] = {"warm-up": [], "alone": [], "in the crowd": []}
    held: dict[str, Held] = {}
    peak_mib, misbehaved = 0, 0

    async def half(name: str, seconds: float, crowd: int) -> None:
        nonlocal peak_mib, misbehaved
        until = time.monotonic() + seconds
        async with grpc.aio.insecure_channel(address) as channel, asyncio.TaskGroup() as group:
            stub = DetectorServiceStub(channel)
            for _ in range(arguments.good):
                group.create_task(good(stub, arguments.fps, until, ages[name]))
            others = [group.create_task(bad(address, which, until)) for which in range(crowd)]
            while time.monotonic() < until:
                peak_mib = max(peak_mib, process.memory_info().rss // MIB)
                await asyncio.sleep(0.2)
        misbehaved += sum(task.result() for task in others)
        await asyncio.sleep(2)  # what has ended is cleaned up
        held[name] = Held.by(process, metrics_url)

    await half("warm-up", 5, arguments.crowd)
    await half("alone", arguments.seconds, 0)
    await half("in the crowd", arguments.seconds, arguments.crowd)

    console = Console()
    table = Table("", "frames", "median ms", "p99 ms", *Held._fields)
    for name, values in ages.items():
        p99 = statistics.quantiles(values, n=100)[98]
        table.add_row(name, str(len(values)), f"{statistics.median(values):.1f}", f"{p99:.1f}", *map(str, held[name]))
    console.print(table)
    alone, crowded = (statistics.quantiles(ages[name], n=100)[98] for name in ("alone", "in the crowd"))
    console.print(
        f"p99 age in the crowd / alone: {crowded / alone:.2f}; {arguments.crowd} misbehaved {misbehaved} times"
    )
    console.print(f"peak memory {peak_mib} MiB")


def main() -> None:
    """Starts a server, and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300, help="of each half")
    parser.add_argument("--good", type=int, default=5)
    parser.add_argument("--fps", type=float, default=3, help="of each good stream")
    parser.add_argument("--crowd", type=int, default=50)
    arguments = parser.parse_args()
    flags = ["--demo", "--server-port", "0", "--server-metrics-port", "0", "--server-drain-wait-s", "0"]
    flags += ["--limits-max-streams", str(arguments.good + arguments.crowd), "--log-level", "info"]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+") as log:
        server = subprocess.Popen([sys.executable, "-m", "detector_grpc", "serve", *flags], stderr=log, stdout=log)
        try:
            while "Ctrl-C stops" not in (text := Path(log.name).read_text()):
                if server.poll() is not None:
                    raise SystemExit(text)
                time.sleep(0.1)
            listening = next(json.loads(line) for line in text.splitlines() if '"listening"' in line)
            host = listening["host"]
            metrics_url = f"http://{host}:{listening['metrics_port']}/metrics"
            os.nice(10)  # clients are on machines of their own, and do not take the server's time
            uvloop.run(measure(arguments, f"{host}:{listening['port']}", metrics_url, psutil.Process(server.pid)))
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main()
