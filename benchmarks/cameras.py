"""Sixteen cameras: how old is what is known of their pictures, and does each get its share where there are too many?

Serves a network that costs next to nothing, sends it LATEST streams, each with a phase of its own, and says how old
pictures are when their answers come, and what became of those that were not looked at. Then serves the bundled
detector, asks for several times as much as it can do, and says how evenly the cameras were treated.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from demo_server import demo_server, repository_server
from nets import write_repository
from overhead import picture
from rich.console import Console

from detector_grpc import configured
from detector_grpc.bench.arrivals import phases
from detector_grpc.bench.camera_report import CameraReport
from detector_grpc.bench.cameras import film
from detector_grpc.bench.load import Load, Window
from detector_grpc.bench.report import LoadReport
from detector_grpc.cli.bench.tables import show_cameras
from detector_grpc.client.bare import BareDetector

if TYPE_CHECKING:
    from demo_server import DemoServer

NET, VERSION = "tiny", "v1"
WARM_UP_S = 2.0
PATIENCE_S = 60.0
CONNECTIONS = 4
CLIENTS = 8  # that it takes to see what a server can do
MOST_AGE_MS = 25.0
MOST_UNEVEN = 0.1


async def filmed(server: DemoServer, model: str, arguments: argparse.Namespace, times: float | None) -> CameraReport:
    """The cameras at their rate, or, if told, at one of which the sum is so many times what the server can do."""
    detector = BareDetector(server.address, model, VERSION, token=None, tls=None, connections=CONNECTIONS)
    stop, fps = asyncio.Event(), arguments.fps
    async with detector:
        await detector.prepare([picture()], {}, downscale=False)
        if times is not None:
            closed = await Load(detector.detect, Window(1, 3), PATIENCE_S, stop).closed_loop(CLIENTS)
            fps = times * LoadReport.of(closed, PATIENCE_S).answered_per_s / arguments.cameras
        starts_s = phases(arguments.cameras, fps, arguments.seed).tolist()
        window = Window(WARM_UP_S, arguments.seconds)
        return CameraReport.of(await film(detector.open_stream, starts_s, fps, window, stop), fps)


def unannounced(report: CameraReport) -> int:
    """Frames that were neither looked at nor said to be dropped."""
    return report.frames - report.looked_at - sum(report.dropped.values())


def verdict(holds: bool, text: str) -> str:  # noqa: FBT001 - said in the next word
    """A bar, and whether it holds."""
    return f"[bold]{'holds' if holds else '[red]does not hold[/]'}[/]: {text}"


def main() -> None:
    """Serves, films, and says whether the bars hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=16)
    parser.add_argument("--fps", type=float, default=10, help="of each camera, of the network that costs nothing")
    parser.add_argument("--times", type=float, default=3, help="what the bundled detector can do")
    parser.add_argument("--seconds", type=float, default=30, help="of each half")
    parser.add_argument("--seed", type=int, default=0, help="of the phases")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    os.nice(10)  # cameras are machines of their own, and do not take the server's time
    with tempfile.TemporaryDirectory() as folder, repository_server(write_repository(Path(folder), NET)) as server:
        calm = uvloop.run(filmed(server, NET, arguments, None))
    console.rule(f"{arguments.cameras} cameras, a network that costs next to nothing")
    show_cameras(console, calm)
    with demo_server() as server:
        busy = uvloop.run(filmed(server, configured.BUNDLED_MODEL, arguments, arguments.times))
    console.rule(f"{arguments.cameras} cameras that ask for {arguments.times:g} times what the server can do")
    show_cameras(console, busy)
    if calm.age is None or busy.share is None:
        raise SystemExit("no frame was looked at")
    lost = unannounced(calm) + unannounced(busy)
    equal = busy.looked_at / arguments.cameras
    uneven = max(abs(each / equal - 1) for each in busy.share.looked_at)
    console.rule("bars")
    console.print(verdict(not lost, f"no frame is lost without a word: {lost}"))
    age_ms = calm.age.p99_ms
    console.print(verdict(age_ms <= MOST_AGE_MS, f"p99 of the age at most {MOST_AGE_MS:g} ms: {age_ms:.1f}"))
    console.print(verdict(uneven <= MOST_UNEVEN, f"shares within {MOST_UNEVEN:.0%} of equal: {uneven:.1%}"))


if __name__ == "__main__":
    main()
