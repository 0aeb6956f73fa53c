"""Well-behaved cameras among clients that do everything wrong: does anybody notice, and does anything stay behind?

Starts `detector-grpc serve --demo`, and sends it a few LATEST streams at a fixed rate: alone at first, then for as long
among many clients that misbehave, each in one of the ways below, again and again. Prints the ages of the good streams'
frames in both halves, the most memory that the server held, and what it holds before and after.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import statistics
import time
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import uvloop
from demo_server import MIB, DemoServer, Held, demo_server
from rich.console import Console
from rich.table import Table

from detector_grpc import configured
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

PICTURE = (configured.BUNDLED / "pictures" / "desk.jpg").read_bytes()
PAUSE_S = 0.5  # between two tries of one misbehaving client
PATIENCE_S = 60  # more than the server has with anybody


def config(mode: int = DELIVERY_MODE_LATEST) -> StreamDetectRequest:
    """The first message of a stream."""
    return StreamDetectRequest(config=StreamConfig(model=configured.BUNDLED_MODEL, mode=mode))


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


async def measure(arguments: argparse.Namespace, server: DemoServer) -> None:
    """Runs both halves, and prints what came of them."""
    ages: dict[str, list[float]] = {"warm-up": [], "alone": [], "in the crowd": []}
    held: dict[str, Held] = {}
    peak_mib, misbehaved = 0, 0

    async def half(name: str, seconds: float, crowd: int) -> None:
        nonlocal peak_mib, misbehaved
        until = time.monotonic() + seconds
        async with grpc.aio.insecure_channel(server.address) as channel, asyncio.TaskGroup() as group:
            stub = DetectorServiceStub(channel)
            for _ in range(arguments.good):
                group.create_task(good(stub, arguments.fps, until, ages[name]))
            others = [group.create_task(bad(server.address, which, until)) for which in range(crowd)]
            while time.monotonic() < until:
                peak_mib = max(peak_mib, server.rss_mib())
                await asyncio.sleep(0.2)
        misbehaved += sum(task.result() for task in others)
        await asyncio.sleep(2)  # what has ended is cleaned up
        held[name] = server.held()

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
    with demo_server("--limits-max-streams", str(arguments.good + arguments.crowd)) as server:
        os.nice(10)  # clients are on machines of their own, and do not take the server's time
        uvloop.run(measure(arguments, server))


if __name__ == "__main__":
    main()
