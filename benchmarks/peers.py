"""This server beside others that serve the same stages: what each costs, and what is left of it under overload.

All run the bundled model on the same JPEG with the same code from decoding to suppression, so that what differs is the
serving. The peers, in benchmarks/peers/, have their best settings; they run in an environment of their own, which is
made at the first run. Only one server runs at a time, and every round starts each of them anew. Load comes from the
generator of `detector-grpc bench`: closed loops, and an open loop of a multiple of what the server could do just
before, whose callers leave after a deadline. What a bare loop takes is measured in every round, too.

CPU time is that of the server with all its children; it is what other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import psutil
import uvloop
from demo_server import MIB, demo_server
from overhead import bundled_pipeline, picture
from rich.console import Console
from rich.progress import track
from rich.table import Table

from detector_grpc import configured
from detector_grpc.bench.arrivals import poisson
from detector_grpc.bench.load import Load, Window
from detector_grpc.bench.report import LoadReport
from detector_grpc.client import CallFailed
from detector_grpc.client.bare import BareDetector
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from detector_grpc.bench.load import MakeCall, Measured

HERE = Path(__file__).parent
ROOT = HERE.parent
ENVIRONMENT = ROOT / ".venv-peers"
REQUIREMENTS = HERE / "peers" / "requirements.txt"
PATIENCE_S = 60.0
WARM_UP_S = 1.0
MOST_UNANSWERED = 20_000
OURS, BARE = "detector-grpc", "bare loop"


class Peer(NamedTuple):
    """Another server: its script, and the flags beside port and workers."""

    script: str
    flags: tuple[str, ...] = ()
    workers: int | None = None  # None: as many as processors
    takes_form: bool = False  # else the picture is the body


class Running(NamedTuple):
    """A server that answers."""

    make_call: MakeCall
    processes: Callable[[], list[psutil.Process]]
    start_s: float

    def cpu_s(self) -> float:
        """CPU time so far, of all processes that it has now."""
        return sum(sum(each.cpu_times()[:2]) for each in self.processes())

    def rss_mib(self) -> int:
        """Memory that all of them have."""
        return int(sum(each.memory_info().rss for each in self.processes()) // MIB)


def peers(processors: int) -> dict[str, Peer]:
    """All of them by name. Those with a limit have at most 16 pictures in flight for each processor."""
    limit = ("--most-in-flight", str(16 * processors))
    return {
        "FastAPI": Peer("fastapi_server.py"),
        "FastAPI, limit": Peer("fastapi_server.py", limit),
        "LitServe": Peer("litserve_server.py", takes_form=True),
        "LitServe, batches": Peer("litserve_server.py", ("--batch", "8"), workers=1, takes_form=True),
    }


def with_children(pid: int) -> list[psutil.Process]:
    """A process and all that it has started."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def environment() -> Path:
    """The interpreter of the peers' environment, which is made if it is not there, or another one is asked for."""
    python, made_of = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "requirements.txt"
    if not made_of.exists() or made_of.read_text() != REQUIREMENTS.read_text():
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        constraints = ["--constraint", ROOT / "constraints.txt", "--editable", f"{ROOT}[cpu]"]
        subprocess.run([*install, *constraints], check=True)
        subprocess.run([*install, "--requirement", REQUIREMENTS], check=True)
        made_of.write_text(REQUIREMENTS.read_text())
    return python


@contextmanager
def peer_process(python: Path, peer: Peer, processors: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A peer that starts, and where it will answer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ["--port", str(port), "--workers", str(peer.workers or processors), *peer.flags]
    process = subprocess.Popen(
        [python, HERE / "peers" / peer.script, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield f"http://127.0.0.1:{port}/predict", process
    finally:
        children = with_children(process.pid) if process.poll() is None else []
        process.terminate()
        _, alive = psutil.wait_procs(children, 10)
        for each in alive:
            each.kill()
        process.wait()


def form(data: bytes) -> tuple[bytes, str]:
    """A form with the picture as its file, made once, and its content type."""
    head = b'--boundary\r\ncontent-disposition: form-data; name="file"; filename="picture.jpg"\r\n\r\n'
    return head + data + b"\r\n--boundary--\r\n", "multipart/form-data; boundary=boundary"


@asynccontextmanager
async def peer_running(python: Path, peer: Peer, processors: int, data: bytes) -> AsyncIterator[Running]:
    """A peer that has answered once."""
    started = time.perf_counter()
    body, content_type = form(data) if peer.takes_form else (data, "application/octet-stream")
    headers = {"content-type": content_type}
    with peer_process(python, peer, processors) as (url, process):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:

            async def call(_: int, timeout_s: float) -> CallFailed | None:
                try:
                    async with session.post(url, data=body, timeout=aiohttp.ClientTimeout(timeout_s)) as response:
                        await response.read()
                        return None if response.status == 200 else CallFailed(f"HTTP {response.status}", "")
                except TimeoutError:
                    return CallFailed("DEADLINE_EXCEEDED", "")
                except aiohttp.ClientError as error:
                    return CallFailed("UNAVAILABLE", str(error))

            while (failure := await call(0, PATIENCE_S)) is not None:
                if process.poll() is not None or time.perf_counter() - started > PATIENCE_S:
                    raise SystemExit(f"{peer.script} does not answer: {failure}")
                await asyncio.sleep(0.05)
            yield Running(call, lambda: with_children(process.pid), time.perf_counter() - started)


@asynccontextmanager
async def ours_running(data: bytes) -> AsyncIterator[Running]:
    """This server, as it comes."""
    started = time.perf_counter()
    with demo_server() as server:
        detector = BareDetector(server.address, configured.BUNDLED_MODEL, "v1", token=None, tls=None, connections=4)
        async with detector:
            await detector.prepare([data], {}, downscale=False)
            yield Running(detector.detect, lambda: [server.process], time.perf_counter() - started)


class Figures(NamedTuple):
    """What one server did in one round."""

    start_s: float
    rss_mib: int
    closed: dict[int, tuple[LoadReport, float]]  # by clients, with CPU-ms per answer
    goodput_to_capacity: float
    burned_s: float  # CPU time in the two seconds after all callers of the overload have left


async def measured(running: Running, arguments: argparse.Namespace, seed: int) -> Figures:
    """One server in one round."""
    stop = asyncio.Event()
    window = Window(WARM_UP_S, arguments.seconds)
    closed = {}
    for clients in arguments.clients:
        load = Load(running.make_call, window, PATIENCE_S, stop)
        before = running.cpu_s()
        found: Measured = await load.closed_loop(clients)
        spent_s = running.cpu_s() - before
        report = LoadReport.of(found, PATIENCE_S)
        whole = report.answered * window.whole_s / window.seconds  # those of the warm-up cost, too
        closed[clients] = report, spent_s / max(whole, 1) * 1e3
    rss_mib = running.rss_mib()
    capacity = max(report.answered_per_s for report, _ in closed.values())
    overload = Window(0, arguments.overload_s)
    arrivals = poisson(arguments.times * capacity, overload.whole_s, seed)
    load = Load(running.make_call, overload, arguments.deadline_s, stop)
    report = LoadReport.of(await load.open_loop(arrivals, MOST_UNANSWERED), arguments.deadline_s)
    await asyncio.sleep(1)
    before = running.cpu_s()
    await asyncio.sleep(2)
    burned_s = running.cpu_s() - before
    return Figures(running.start_s, rss_mib, closed, report.goodput_per_s / capacity, burned_s)


def bare(processors: int, data: bytes, seconds: float) -> float:
    """CPU-ms for each picture of a loop on as many threads as processors, and nothing else."""
    pipeline, _ = bundled_pipeline()
    until = time.perf_counter() + seconds

    def look(_: int) -> int:
        count = 0
        while time.perf_counter() < until:
            pipeline.detect(EncodedImage(data), RequestedOptions())
            count += 1
        return count

    before = time.process_time()
    with ThreadPoolExecutor(processors) as threads:
        count = sum(threads.map(look, range(processors)))
    return (time.process_time() - before) / count * 1e3


def tell(
    console: Console, rounds: dict[str, list[Figures]], bare_ms: list[float], arguments: argparse.Namespace
) -> None:
    """Medians of the rounds."""
    median = statistics.median
    table = Table("", "start s", "RSS MiB")
    for clients in arguments.clients:
        for what in ("answers/s", "p50 ms", "p99 ms", "CPU ms"):
            table.add_column(f"{what}, {clients} clients")
    table.add_column(f"goodput at {arguments.times:g} times")
    table.add_column("CPU s after")
    for name, figures in rounds.items():
        row = [f"{median(each.start_s for each in figures):.1f}", f"{median(each.rss_mib for each in figures):.0f}"]
        for clients in arguments.clients:
            loads = [each.closed[clients] for each in figures]
            row += [f"{median(load.answered_per_s for load, _ in loads):.1f}"]
            row += [f"{median(load.latency.p50_ms for load, _ in loads if load.latency):.1f}"]
            row += [f"{median(load.latency.p99_ms for load, _ in loads if load.latency):.1f}"]
            row += [f"{median(cpu_ms for _, cpu_ms in loads):.2f}"]
        row += [f"{median(each.goodput_to_capacity for each in figures):.2f}"]
        row += [f"{median(each.burned_s for each in figures):.2f}"]
        table.add_row(name, *row)
    console.print(table)
    console.print(f"{BARE}: {median(bare_ms):.2f} ms of CPU for each picture; {len(bare_ms)} rounds")
    console.print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")


async def measure(arguments: argparse.Namespace) -> None:
    """All rounds."""
    python, data, processors = environment(), picture(), configured.cpu_limit()
    rounds: dict[str, list[Figures]] = defaultdict(list)
    bare_ms = []
    console = Console()
    for number in track(range(arguments.rounds), console=console):
        bare_ms.append(await asyncio.to_thread(bare, processors, data, arguments.seconds))
        async with ours_running(data) as running:
            rounds[OURS].append(await measured(running, arguments, number))
        for name, peer in peers(processors).items():
            async with peer_running(python, peer, processors, data) as running:
                rounds[name].append(await measured(running, arguments, number))
    tell(console, rounds, bare_ms, arguments)


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of each closed loop")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16], help="of the closed loops")
    parser.add_argument("--times", type=float, default=3, help="the overload, as a multiple of the capacity")
    parser.add_argument("--overload-s", type=float, default=20)
    parser.add_argument("--deadline-s", type=float, default=1)
    uvloop.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
