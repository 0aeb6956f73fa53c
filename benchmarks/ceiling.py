"""How many pictures one process can bring to a fast engine, by threads and by processes.

The engine (benchmarks/engine.py) takes its time for each picture, but no processor and no lock of the interpreter, so
that what limits is the work of the host: decoding, resizing, reading the outputs, and in the servers all that serving
is.

- pipeline: the stages alone in one process, on T threads;
- one server: `detector-grpc serve` as it comes, with T workers;
- servers: P of them, each with an engine of its own, sharing nothing but the processors;
- sharing servers: P of them, and one engine process, as `up` starts them in front of GPUs.

Servers are called by closed loops, several calls for each worker, from processes of their own; how busy these and the
thread of the server's event loop were is told. A loop or generator near 1 is what limits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import uvloop
from arguments import at_least, positive
from demo_server import cpu_clock_s, repository_server
from engine import Curve, CurveFile, curve_engines, exact_sleep
from overhead import picture
from rich.console import Console
from rich.table import Table

from detector_grpc.bench.load import Load, Window
from detector_grpc.bench.report import LoadReport
from detector_grpc.client.bare import BareDetector
from detector_grpc.figures import import_figure
from detector_grpc.serving.batching import BatchingSession
from detector_grpc.serving.cpu import cpu_limit
from detector_grpc.serving.gpu.providers import GpuOptions
from detector_grpc.serving.memory import use_one_heap
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage
from detector_grpc.serving.registry import open_version
from detector_grpc.serving.repository import MODEL_FILE, Sources
from detector_grpc.serving.session import CUDA
from detector_grpc.setting_sections.models import GpuSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

    from demo_server import DemoServer

    from detector_grpc.serving.session import Model

MODEL, VERSION = "engine", "v1"
PIPELINE, ONE, MANY, SHARING = "pipeline", "one server", "servers", "sharing servers"
GPU = ("--runtime-provider", CUDA, "--gpu-engines", "1")
THREADS = (1, 2, 3, 4, 6, 8, 12, 16)
PROCESSES = (1, 2, 4, 6, 8)
WARM_UP_S = 0.5
PATIENCE_S = 30.0
CONNECTIONS = 2  # of each generator
MOST_CALLS = 64  # at once, of one server: what it lets one caller have waiting
MAX_PIXELS = 50_000_000


class Point(NamedTuple):
    """What one measurement came to.

    Attributes:
        side: What was measured.
        processes: Of it.
        threads: Of each.
        pictures_per_s: Of all processes together.
        cpu_ms: CPU time of all processes for each picture.
        loop: Share of a processor that the busiest event loop took; None where there is none.
        generator: The same of the busiest generator.
        p50_ms: Latency as the generators see it.
        failed: Calls that failed.
    """

    side: str
    processes: int
    threads: int
    pictures_per_s: float
    cpu_ms: float
    loop: float | None = None
    generator: float | None = None
    p50_ms: float | None = None
    failed: int = 0


class Generated(NamedTuple):
    """What one generator came to; `busy` is its share of a processor."""

    answered_per_s: float
    busy: float
    p50_ms: float
    failed: int


def session(picture_s: float, model: Model) -> BatchingSession:
    """As the servers have it."""
    defaults = GpuSettings()
    gpu = GpuOptions(CUDA, **defaults.model_copy(update={"engines": 1}).model_dump(exclude={"max_delay_s"}))
    return BatchingSession(curve_engines(Curve(0, picture_s), gpu, model), gpu.max_batch)


def stages(connection: Connection, data: bytes, repository: Path, picture_s: float, seconds: float) -> None:
    """Runs the pipeline on as many threads as told, and answers with the point."""
    use_one_heap()  # this and the next as in the server
    cv2.setNumThreads(1)
    exact_sleep()
    (source,) = Sources([repository]).scan()
    pipeline = open_version(source, partial(CurveFile, open_session=partial(session, picture_s)), MAX_PIXELS).pipeline

    def look(until: float) -> int:
        count = 0
        while time.perf_counter() < until:
            pipeline.detect(EncodedImage(data), RequestedOptions())
            count += 1
        return count

    while threads := connection.recv():
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(look, [time.perf_counter() + WARM_UP_S] * threads))
            began, cpu_s = time.perf_counter(), time.process_time()
            count = sum(pool.map(look, [began + seconds] * threads))
            elapsed_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
        connection.send(Point(PIPELINE, 1, threads, count / elapsed_s, cpu_s / count * 1e3))


def generate(connection: Connection, data: bytes, seconds: float) -> None:
    """Keeps as many calls under way as told, at the server told, and answers with what came of them."""

    async def load(address: str, clients: int) -> Generated:
        detector = BareDetector(address, MODEL, VERSION, token=None, tls=None, connections=CONNECTIONS)
        async with detector:
            await detector.prepare([data], {}, downscale=False)
            began, cpu_s = time.perf_counter(), time.process_time()
            window = Window(WARM_UP_S, seconds)
            measured = await Load(detector.detect, window, PATIENCE_S, asyncio.Event()).closed_loop(clients)
            busy = (time.process_time() - cpu_s) / (time.perf_counter() - began)
        report = LoadReport.of(measured, PATIENCE_S)
        if report.latency is None:
            raise SystemExit(f"not a single call was answered: {report.failed}")
        return Generated(report.answered_per_s, busy, report.latency.p50_ms, sum(report.failed.values()))

    while order := connection.recv():
        connection.send(uvloop.run(load(*order)))


class Clocks(NamedTuple):
    """CPU seconds so far: of all processes, and of the event loop of each server."""

    whole_s: float
    loops_s: list[float]

    @classmethod
    def of(cls, servers: Sequence[DemoServer], engines: Sequence[int]) -> Clocks:
        """Of processes to the nanosecond, of loops in ticks of 10 ms."""
        pids = [server.process.pid for server in servers]
        loops = [next(each for each in server.process.threads() if each.id == server.process.pid) for server in servers]
        return cls(sum(map(cpu_clock_s, (*pids, *engines))), [each.user_time + each.system_time for each in loops])


class Bench:
    """The processes that last for the whole run, and the servers that do not."""

    def __init__(self, stack: ExitStack, arguments: argparse.Namespace) -> None:
        self._seconds, self._per_server = arguments.seconds, arguments.generators
        self._repository = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = self._repository / MODEL / VERSION / MODEL_FILE
        file.parent.mkdir(parents=True)
        file.touch()
        script = str(Path(__file__).with_name("engine.py"))
        self._program = (script, "0", str(arguments.picture_ms))
        self._data = picture()
        spawn = multiprocessing.get_context("spawn")

        def started(target: object, *values: object) -> Connection:
            near, far = spawn.Pipe()
            spawn.Process(target=target, args=(far, self._data, *values), daemon=True).start()
            stack.callback(near.send, None)
            return near

        self._stages = started(stages, self._repository, arguments.picture_ms / 1e3, arguments.seconds)
        servers = max(arguments.processes, default=1)
        self._generators = [started(generate, arguments.seconds) for _ in range(self._per_server * servers)]

    @property
    def picture_bytes(self) -> int:
        """Size of the picture."""
        return len(self._data)

    def pipeline(self, threads: int) -> Point:
        """The stages alone."""
        self._stages.send(threads)
        point: Point = self._stages.recv()
        return point

    @contextmanager
    def _shared_engine(self) -> Iterator[tuple[Sequence[str], int]]:
        """An engine process: what servers are told of it, and its id."""
        with tempfile.TemporaryDirectory() as folder:
            flags = ("--runtime-engine", str(Path(folder) / "engine"))
            command = (sys.executable, *self._program, "engine", *GPU, *flags)
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            try:
                yield flags, process.pid
            finally:
                process.terminate()
                process.wait(PATIENCE_S)

    def servers(self, side: str, processes: int, threads: int) -> Point:
        """So many servers at once, with so many workers each."""
        clients = min(4 * threads + 4, MOST_CALLS) // self._per_server
        generators = self._generators[: processes * self._per_server]
        with ExitStack() as stack:
            flags, engines = ("--runtime-workers", str(threads), *GPU), []
            if side == SHARING:
                shared, engine = stack.enter_context(self._shared_engine())
                flags, engines = (*flags, *shared), [engine]
            opened = [repository_server(self._repository, *flags, program=self._program) for _ in range(processes)]
            with ThreadPoolExecutor(processes) as starting:
                servers = list(starting.map(stack.enter_context, opened))
            for number, generator in enumerate(generators):
                generator.send((servers[number % processes].address, clients))
            time.sleep(WARM_UP_S + self._seconds / 4)  # well within the window of all of them
            before, began = Clocks.of(servers, engines), time.perf_counter()
            time.sleep(self._seconds / 2)
            after, elapsed_s = Clocks.of(servers, engines), time.perf_counter() - began
            generated: list[Generated] = [generator.recv() for generator in generators]
        rate = sum(each.answered_per_s for each in generated)
        return Point(
            side,
            processes,
            threads,
            rate,
            (after.whole_s - before.whole_s) / elapsed_s / rate * 1e3,
            max(late - early for early, late in zip(before.loops_s, after.loops_s, strict=True)) / elapsed_s,
            max(each.busy for each in generated),
            statistics.median(each.p50_ms for each in generated),
            sum(each.failed for each in generated),
        )


def measure(arguments: argparse.Namespace, console: Console) -> tuple[list[Point], int]:
    """All points, and the size of the picture."""
    points = []

    def add(point: Point) -> Point:
        points.append(point)
        console.print(f"{point.side}, {point.processes} x {point.threads}: {point.pictures_per_s:.0f}/s")
        return point

    with ExitStack() as stack:
        bench = Bench(stack, arguments)
        for threads in arguments.threads:
            add(bench.pipeline(threads))
        alone = [add(bench.servers(ONE, 1, threads)) for threads in arguments.threads]
        best = max(alone, key=lambda point: point.pictures_per_s).threads
        for side in (MANY, SHARING):
            for processes in arguments.processes:
                add(bench.servers(side, processes, min(best, max(2, cpu_limit() // processes))))
    return points, bench.picture_bytes


def show(points: Sequence[Point], console: Console) -> None:
    """The table."""
    table = Table("", "P", "T", "pictures/s", "CPU ms", "loop", "generator", "p50 ms", "failed")
    for point in points:
        measured = [point.loop, point.generator, point.p50_ms]
        cells = ["" if value is None else f"{value:.2f}" for value in measured]
        counts = [str(point.processes), str(point.threads), f"{point.pictures_per_s:.0f}", f"{point.cpu_ms:.2f}"]
        table.add_row(point.side, *counts, *cells, str(point.failed))
    console.print(table)


def plot(points: Sequence[Point], picture_ms: float, file: Path) -> None:
    """Pictures per second over threads and over processes."""
    figure = import_figure("bench")(figsize=(10, 4.2), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    figure.suptitle(f"Pictures per second in front of engines that take {picture_ms:g} ms for each")
    sides = (
        (left, PIPELINE, "threads"),
        (left, ONE, "threads"),
        (right, MANY, "processes"),
        (right, SHARING, "processes"),
    )
    for axes, side, of in sides:
        chosen = [point for point in points if point.side == side]
        counts = [getattr(point, of) for point in chosen]
        axes.plot(counts, [point.pictures_per_s for point in chosen], "o-", label=side)
    most = 1.15 * max(point.pictures_per_s for point in points)  # what the engines could do may be far above
    for axes, of in ((left, "threads of one process"), (right, "processes")):
        axes.axhline(1e3 / picture_ms, color="grey", linestyle="--", label="one engine")
        axes.set(xlabel=of, ylabel="pictures per second", xlim=(0, None), ylim=(0, most))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
    figure.savefig(file)


def main() -> None:
    """Measures, prints, and writes what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=positive, default=2, help="of each point")
    parser.add_argument("--threads", type=at_least(1), nargs="+", default=THREADS)
    parser.add_argument("--processes", type=at_least(1), nargs="*", default=PROCESSES)
    parser.add_argument("--generators", type=at_least(1), default=2, help="processes for each server")
    parser.add_argument("--picture-ms", type=positive, default=0.3, help="that the engine takes for each")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--plot", type=Path, help="file for a plot, .svg or .png")
    arguments = parser.parse_args()
    console = Console()
    points, picture_bytes = measure(arguments, Console(stderr=True))
    console.print(f"JPEG of {picture_bytes} bytes, engine {arguments.picture_ms:g} ms, {cpu_limit()} processors")
    show(points, console)
    if arguments.json:
        machine = {"machine": platform.machine(), "processors": cpu_limit(), "of": os.cpu_count()}
        versions = {"python": platform.python_version(), "opencv": cv2.__version__}
        told = {"picture_ms": arguments.picture_ms, "picture_bytes": picture_bytes, "seconds": arguments.seconds}
        figures = {**machine, **versions, **told, "points": [point._asdict() for point in points]}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    if arguments.plot:
        plot(points, arguments.picture_ms, arguments.plot)


if __name__ == "__main__":
    main()
