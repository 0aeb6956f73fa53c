"""Calls that somebody waits for beside recordings that take all that is left: how much longer do they take?

Serves a network that costs what YOLOv9-T does, or the only version of a repository. Calls come at a low rate, in turns
alone and beside LOSSLESS streams that send as fast as they may. What has begun is not given up, so that a call may have
to wait for one picture of a recording; beyond that it should notice nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import uvloop
from arguments import at_least
from cameras import verdict
from demo_server import repository_server
from nets import write_repository
from overhead import picture
from overload import only_version
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from detector_grpc.bench.arrivals import poisson
from detector_grpc.bench.load import Load, Window
from detector_grpc.bench.percentiles import Percentiles
from detector_grpc.cli.bench.tables import show_durations
from detector_grpc.client import CallFailed
from detector_grpc.client.bare import BareDetector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from demo_server import DemoServer

PATIENCE_S = 60.0
SETTLE_S = 2.0
CONNECTIONS = 4
MOST_UNANSWERED = 10_000
STAGES = ("decode", "preprocess", "inference", "postprocess")

# Beyond the latency alone and one picture of a recording.
MOST_MORE = 1.1


def item_s(server: DemoServer) -> float:
    """Seconds that a worker took for a picture, on average so far."""
    with urlopen(server.metrics_url) as response:  # noqa: S310 - our own server
        families = text_string_to_metric_families(response.read().decode())
    values = {(each.name, each.labels.get("stage")): each.value for family in families for each in family.samples}
    name = "object_detection_stage_duration_seconds"
    return sum(values[f"{name}_sum", stage] / values[f"{name}_count", stage] for stage in STAGES)


class Recording:
    """A stream that always has a frame to send."""

    def __init__(self, detector: BareDetector, number: int) -> None:
        self._detector, self._number = detector, number
        self.answered = 0

    async def run(self) -> None:
        """Sends and reads until cancelled."""
        stream = await self._detector.open_stream(self._number, "lossless")

        async def send() -> None:
            for frame_id in itertools.count(1):
                await stream.send(frame_id)

        sending = asyncio.create_task(send())
        try:
            async for answer in stream.answers():
                if answer.failure is not None:
                    raise answer.failure
                self.answered += 1
        finally:
            stream.cancel()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


@asynccontextmanager
async def recordings(detector: BareDetector, count: int) -> AsyncIterator[list[Recording]]:
    """Streams that have begun."""
    streams = [Recording(detector, number) for number in range(count)]
    tasks = [asyncio.create_task(stream.run()) for stream in streams]
    try:
        await asyncio.sleep(SETTLE_S)
        yield streams
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, CallFailed):
                raise ended


async def latencies_s(detector: BareDetector, arguments: argparse.Namespace, seed: int) -> list[float]:
    """Of one window of calls."""
    load = Load(detector.detect, Window(0, arguments.seconds), PATIENCE_S, asyncio.Event())
    measured = await load.open_loop(poisson(arguments.rate, arguments.seconds, seed), MOST_UNANSWERED)
    failed = [call.failure for call in measured.calls if call.failure is not None]
    if failed:
        raise failed[0]
    return [call.latency_s for call in measured.calls]


async def measure(server: DemoServer, model: str, version: str, arguments: argparse.Namespace, out: Console) -> None:
    """All rounds."""
    alone: list[float] = []
    beside: list[float] = []
    picture_s = frames = 0.0
    detector = BareDetector(server.address, model, version, token=None, tls=None, connections=CONNECTIONS)
    async with detector:
        await detector.prepare([picture()], {}, downscale=False)
        for seed in range(arguments.rounds):
            alone += await latencies_s(detector, arguments, seed)
            picture_s = picture_s or item_s(server)
            async with recordings(detector, arguments.streams) as streams:
                before = sum(stream.answered for stream in streams)
                beside += await latencies_s(detector, arguments, seed)
                frames += sum(stream.answered for stream in streams) - before
    of_alone, of_beside = Percentiles.of(alone), Percentiles.of(beside)
    if of_alone is None or of_beside is None:
        raise SystemExit("not a single call was measured")
    show_durations(out, {"calls alone": of_alone, "beside recordings": of_beside})
    rate = frames / (arguments.rounds * arguments.seconds)
    out.print(f"{arguments.rate:g} calls a second; {rate:.1f} frames a second of {arguments.streams} recordings")
    most_ms = MOST_MORE * (of_alone.p99_ms + picture_s * 1e3)
    what = f"p99 alone and one picture of {picture_s * 1e3:.0f} ms, and a tenth"
    out.print(verdict(of_beside.p99_ms <= most_ms, f"p99 at most {most_ms:.0f} ms ({what}): {of_beside.p99_ms:.0f}"))


def main() -> None:
    """Serves, calls, and says whether the bar holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least(1), default=6)
    parser.add_argument("--seconds", type=float, default=15, help="of calls alone, and of calls beside recordings")
    parser.add_argument("--rate", type=float, default=4, help="calls per second")
    parser.add_argument("--streams", type=int, default=4, help="recordings")
    parser.add_argument("--repository", type=Path, help="model repository with one version")
    arguments = parser.parse_args()
    out = Console(highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        repository = arguments.repository or write_repository(Path(folder))
        with repository_server(repository) as server:
            uvloop.run(measure(server, *only_version(repository), arguments, out))


if __name__ == "__main__":
    main()
