"""Whether simulated servers are as measured ones: fitted on one process, checked on several behind Envoy.

The servers are real ones, with engines that take their time for each picture and no processor (benchmarks/engine.py),
so that several of them can be measured on a machine with few processors. One process is measured with one client, and
with as many as keep its workers busy: from these two follow what a worker takes for a picture and what is beside that.
With these alone benchmarks/queueing.py says what one, two and four processes behind one gateway do with calls and with
cameras, below and beyond what they bear, and the same is measured. Which calls are refused under overload is not: with
a deadline they are taken on if they just make it, so that what else the machine does decides.

Exit code 1 if any figure of two processes or more is off by more than a fifth. To be run with the tests' own parts at
hand: `PYTHONPATH=tests python benchmarks/measure_cluster.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import uvloop
from arguments import at_least, positive
from fleet import Fleet
from overhead import picture
from queueing import Server, share_calls, watch
from rich.console import Console
from rich.table import Table
from support.gateways import running_gateway

from detector_grpc.bench.arrivals import phases, poisson
from detector_grpc.bench.camera_report import CameraReport
from detector_grpc.bench.cameras import film
from detector_grpc.bench.load import Load, Window
from detector_grpc.bench.report import LoadReport
from detector_grpc.client.bare import BareDetector
from detector_grpc.serving.repository import MODEL_FILE
from detector_grpc.serving.session import CUDA

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from numpy.typing import NDArray

    from detector_grpc.bench.cameras import Filmed

MODEL, VERSION = "engine", "v1"
RESULTS = Path(__file__).parent / "results" / "cluster.json"
PROCESSES = (1, 2, 4)
WARM_UP_S = 2.0
PATIENCE_S = 60.0
CONNECTIONS = 4
CLIENTS = 4  # for each worker, where all are to be busy
MOST_UNANSWERED = 10_000
FPS = 1.0
LOADS = (0.5, 0.8)  # of what the servers bear
CAMERAS = (0.8, 1.6)  # of what the servers bear
ROUNDS = 2  # of cameras, which are at other servers in each
WATCHED_S = 120.0  # in the simulation
REPETITIONS = 20  # of what is drawn in a simulation
OFF = 0.2
SEED = 0


class Figure(NamedTuple):
    """One figure, as it was said before and as it was measured."""

    processes: int
    load: str
    what: str
    simulated: float
    measured: float

    @property
    def off(self) -> float:
        """How far the two are apart, as a share of what was measured."""
        return abs(self.simulated / self.measured - 1) if self.measured else np.inf


@contextmanager
def cluster(processes: int, workers: int, picture_ms: float) -> Iterator[str]:
    """So many servers behind Envoy: its address."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "models" / MODEL / VERSION / MODEL_FILE
        file.parent.mkdir(parents=True)
        file.touch()
        script = str(Path(__file__).with_name("engine.py"))
        settings: dict[str, object] = {
            "command": (sys.executable, script, "0", str(picture_ms), "serve"),
            "runtime_provider": CUDA,
            "runtime_workers": workers,
            "gpu_engines": workers,
            "gpu_max_batch": 1,
            "limits_max_streams": 1024,
        }
        plan = {"model": MODEL, "versions": (VERSION,)}
        with running_gateway(folder, processes, plan, repository=folder / "models", **settings) as gateway:
            yield gateway.address


@asynccontextmanager
async def calling(address: str, model: str) -> AsyncIterator[BareDetector]:
    """Connections to a gateway."""
    async with BareDetector(address, model, VERSION, token=None, tls=None, connections=CONNECTIONS) as detector:
        await detector.prepare([picture()], {}, downscale=False)
        yield detector


class Measuring:
    """Measures what stands at an address, for so many seconds each time."""

    def __init__(self, address: str, seconds: float, model: str = MODEL) -> None:
        self._address, self._model = address, model
        self._window = Window(WARM_UP_S, seconds)

    async def clients(self, number: int) -> tuple[float, NDArray[np.float64]]:
        """Answers a second, and their latencies in seconds, with so many calls under way."""
        async with calling(self._address, self._model) as detector:
            measured = await Load(detector.detect, self._window, PATIENCE_S, asyncio.Event()).closed_loop(number)
        answered = [call.latency_s for call in measured.calls if call.failure is None]
        return len(answered) / measured.seconds, np.array(answered)

    async def calls(self, rate_per_s: float) -> LoadReport:
        """Calls at a rate."""
        arrivals = poisson(rate_per_s, self._window.whole_s, SEED)
        async with calling(self._address, self._model) as detector:
            load = Load(detector.detect, self._window, PATIENCE_S, asyncio.Event())
            return LoadReport.of(await load.open_loop(arrivals, MOST_UNANSWERED), PATIENCE_S)

    async def cameras(self, number: int, seed: int) -> CameraReport:
        """Cameras."""
        starts_s = phases(number, FPS, seed).tolist()
        async with calling(self._address, self._model) as detector:
            filmed = await film(detector.open_stream, starts_s, FPS, self._window, asyncio.Event())
        return CameraReport.of(without_end(filmed), FPS)


def without_end(filmed: Filmed) -> Filmed:
    """Without the last frame of each camera, which waits for its turn however long that is: no newer one comes."""
    cameras = (replace(camera, frames=camera.frames[:-1]) for camera in filmed.cameras)
    return replace(filmed, seconds=filmed.seconds - 1 / FPS, cameras=tuple(cameras))


def fitted(measuring: Measuring, workers: int) -> Server:
    """The server that stands there alone.

    Its workers are never without work while there are several times as many clients, each of which calls again at once:
    so a worker has a picture for mean latency x workers / clients (Little 1961). What one client waits beyond that is
    beside it.
    """
    clients = CLIENTS * workers
    _, crowded_s = uvloop.run(measuring.clients(clients))
    _, alone_s = uvloop.run(measuring.clients(1))
    service_s = float(crowded_s.mean()) * workers / clients
    return Server(workers, np.array([service_s]), np.maximum(alone_s - service_s, 0.0))


def simulated_calls(server: Server, processes: int, rate_per_s: float, seconds: float) -> dict[str, float]:
    """What the simulation says of calls at a rate: means over what is drawn."""
    arrivals = poisson(rate_per_s, WARM_UP_S + seconds, SEED)
    drawn = [
        share_calls(server, processes, arrivals, np.random.default_rng(seed), from_s=WARM_UP_S)
        for seed in range(REPETITIONS)
    ]
    p50, p99 = np.mean([np.quantile(each.latency_s, (0.5, 0.99)) for each in drawn], axis=0)
    answered = np.mean([len(each.latency_s) for each in drawn]) / seconds
    return {"answered, 1/s": float(answered), "p50, ms": p50 * 1e3, "p99, ms": p99 * 1e3}


def simulated_cameras(server: Server, processes: int, cameras: int) -> dict[str, float]:
    """The same of cameras."""
    looked_at, ages = [], []
    for seed in range(REPETITIONS):
        rng, starts_s = np.random.default_rng(seed), phases(cameras, FPS, seed)
        server_of = Fleet(processes, 1, cameras, rng).server_of
        frames = [watch(server, starts_s[server_of == each], FPS, WATCHED_S, rng) for each in range(processes)]
        looked_at.append(sum(len(each.age_s) for each in frames) / sum(each.due for each in frames))
        ages.append(np.quantile(np.concatenate([each.age_s for each in frames]), (0.5, 0.99)))
    p50, p99 = np.mean(ages, axis=0)
    return {"looked at, %": float(np.mean(looked_at)) * 100, "age p50, ms": p50 * 1e3, "age p99, ms": p99 * 1e3}


def ages(report: CameraReport) -> tuple[float, float, float]:
    """The same figures as they were measured."""
    if report.age is None:
        raise SystemExit("no frame was looked at")
    return report.looked_at / report.frames * 100, report.age.p50_ms, report.age.p99_ms


def compared(server: Server, processes: int, measuring: Measuring, seconds: float) -> Iterator[Figure]:
    """All figures of so many processes, each said before it is measured."""
    capacity_per_s = processes * server.capacity_per_s
    clients = CLIENTS * server.workers * processes
    answered_per_s, _ = uvloop.run(measuring.clients(clients))
    yield Figure(processes, f"{clients} clients", "answered, 1/s", capacity_per_s, answered_per_s)
    for load in LOADS:
        said = simulated_calls(server, processes, load * capacity_per_s, seconds)
        report = uvloop.run(measuring.calls(load * capacity_per_s))
        if report.latency is None:
            raise SystemExit(f"not a single call was answered: {report.failed}")
        found = (report.answered_per_s, report.latency.p50_ms, report.latency.p99_ms)
        yield from (
            Figure(processes, f"calls at {load:g}", *each) for each in zip(said, said.values(), found, strict=True)
        )
    for load in CAMERAS:
        cameras = round(load * capacity_per_s / FPS)
        said = simulated_cameras(server, processes, cameras)
        filmed = [uvloop.run(measuring.cameras(cameras, seed)) for seed in range(ROUNDS)]
        found = np.mean([ages(report) for report in filmed], axis=0).tolist()
        what = f"{cameras} cameras, at {load:g}"
        yield from (Figure(processes, what, *each) for each in zip(said, said.values(), found, strict=True))


def show(figures: Sequence[Figure], console: Console) -> None:
    """The table."""
    table = Table("processes", "load", "", "simulated", "measured", "off")
    for figure in figures:
        numbers = (f"{figure.simulated:.1f}", f"{figure.measured:.1f}", f"{figure.off:.1%}")
        table.add_row(
            str(figure.processes), figure.load, figure.what, *numbers, style="red" if figure.off > OFF else ""
        )
    console.print(table)


def main() -> int:
    """Fits, says, measures, and writes what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=positive, default=10, help="of each measurement")
    parser.add_argument("--workers", type=at_least(1), default=4, help="of each process")
    parser.add_argument("--picture-ms", type=positive, default=300, help="that the engine takes for each")
    parser.add_argument("--json", type=Path, default=RESULTS, help="file for all figures")
    arguments = parser.parse_args()
    console, progress, began = Console(), Console(stderr=True), os.getloadavg()
    with cluster(1, arguments.workers, arguments.picture_ms) as address:
        server = fitted(Measuring(address, arguments.seconds), arguments.workers)
    figures: list[Figure] = []
    for processes in PROCESSES:
        with cluster(processes, arguments.workers, arguments.picture_ms) as address:
            for figure in compared(server, processes, Measuring(address, arguments.seconds), arguments.seconds):
                figures.append(figure)
                progress.print(*figure)
    show(figures, console)
    beside_ms = float(np.median(server.beside_s)) * 1e3
    written = {
        "when": datetime.now(UTC).date().isoformat(),
        "load_average": [began[0], os.getloadavg()[0]],
        "seconds": arguments.seconds,
        "picture_ms": arguments.picture_ms,
        "workers": server.workers,
        "service_ms": server.mean_service_s * 1e3,
        "beside_ms": beside_ms,
        "figures": [figure._asdict() for figure in figures],
    }
    arguments.json.write_text(json.dumps(written, indent=1) + "\n")
    worst = max((figure for figure in figures if figure.processes > 1), key=lambda figure: figure.off)
    console.print(f"{server.mean_service_s * 1e3:.1f} ms of a worker for a picture, {beside_ms:.1f} ms beside that")
    console.print(f"most off: {worst.off:.1%}, {worst.what} of {worst.load}, {worst.processes} processes")
    return int(worst.off > OFF)


if __name__ == "__main__":
    sys.exit(main())
