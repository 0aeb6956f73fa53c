"""A camera that is three times too fast, for a long time: how old are its frames, and does the server grow?

Starts a server of the bundled detector, measures how long its pipeline takes for one picture, and then sends a LATEST
stream three times as many frames as the workers can look at. Prints how many were answered and looked at, the ages of
the latter as the server tells them, and the memory of the server, minute by minute.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import statistics
import time
from typing import TYPE_CHECKING

import grpc.aio
import uvloop
from demo_server import DemoServer, demo_server
from rich.console import Console
from rich.table import Table

from detector_grpc import configured
from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectRequest
from detector_grpc._gen.detector.v1.detector_service_pb2_grpc import DetectorServiceStub
from detector_grpc._gen.detector.v1.image_pb2 import Image
from detector_grpc._gen.detector.v1.stream_pb2 import DELIVERY_MODE_LATEST, Frame, StreamConfig, StreamDetectRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PICTURE = (configured.BUNDLED / "pictures" / "desk.jpg").read_bytes()
TOO_FAST = 3
CALLS = 60
MINUTE_S = 60


async def pipeline_s(stub: DetectorServiceStub) -> float:
    """Seconds that the server takes for one picture while it has nothing else to do, median."""
    taken = []
    for _ in range(CALLS):
        timing = (await stub.Detect(DetectRequest(image=Image(encoded=PICTURE)))).timing
        taken.append(timing.decode_ms + timing.preprocess_ms + timing.inference_ms + timing.postprocess_ms)
    return statistics.median(taken) / 1e3


async def measure(arguments: argparse.Namespace, server: DemoServer) -> None:
    """Streams, and prints what came of it."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = DetectorServiceStub(channel)
        one_s = await pipeline_s(stub)
        interval_s = one_s / (TOO_FAST * arguments.workers)
        sent = 0

        async def frames() -> AsyncIterator[StreamDetectRequest]:
            nonlocal sent
            yield StreamDetectRequest(config=StreamConfig(mode=DELIVERY_MODE_LATEST))
            begun = time.monotonic()
            for number in itertools.count(1):
                due = begun + number * interval_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if due - begun >= arguments.seconds:
                    return
                sent = number
                yield StreamDetectRequest(frame=Frame(frame_id=number, image=Image(encoded=PICTURE)))

        ids, ages_ms, last = [], [], ""
        memory = [server.rss_mib()]
        next_minute = time.monotonic() + MINUTE_S
        async for answer in stub.StreamDetect(frames()):
            if answer.WhichOneof("message") == "result":
                ids.append(answer.result.frame_id)
                last = answer.result.WhichOneof("outcome")
                if last == "detections":
                    ages_ms.append(answer.result.age_ms)
            if time.monotonic() >= next_minute:
                next_minute += MINUTE_S
                memory.append(server.rss_mib())
    if ids != list(range(1, sent + 1)):
        raise SystemExit(f"{sent} frames were sent, and {len(ids)} answered")
    p99_ms, bar_ms = statistics.quantiles(ages_ms, n=100)[98], 2e3 * one_s + 20
    table = Table("", "")
    for name, value in (
        ("pipeline, ms", f"{one_s * 1e3:.1f}"),
        ("frames a second", f"{1 / interval_s:.0f}"),
        ("frames sent = answered", str(sent)),
        ("looked at", str(len(ages_ms))),
        ("the last one", last),
        ("age, median, ms", f"{statistics.median(ages_ms):.1f}"),
        ("age, p99, ms", f"{p99_ms:.1f}"),
        ("two pipelines and 20 ms", f"{bar_ms:.1f}"),
        ("memory, MiB, minute by minute", " ".join(map(str, [*memory, server.rss_mib()]))),
    ):
        table.add_row(name, value)
    Console().print(table)


def main() -> None:
    """Starts a server, and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    with demo_server("--runtime-workers", str(arguments.workers)) as server:
        os.nice(10)  # the camera is a machine of its own, and does not take the server's time
        uvloop.run(measure(arguments, server))


if __name__ == "__main__":
    main()
