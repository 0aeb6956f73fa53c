"""This server beside others that serve the same stages: what each costs, and what is left of it under overload.

All run the same model on the same JPEG with the same code from decoding to suppression, so that what differs is the
serving. The peers, in benchmarks/peers/, have their best settings, which the tables name; they run in an environment of
their own, which is made at the first run. Only one server runs at a time, and every round starts each of them anew.

Load comes from the generator of `detector-grpc bench`: closed loops, and open ones whose rates are the same for all:
shares of what a bare loop can do, and a multiple of it, whose callers leave after a deadline. CPU time is that of the
server with all its children; it is what other work on the machine disturbs least.

What was measured is kept in benchmarks/results/, and written to docs/benchmarks.md with its plots. `--again` writes
these from what was kept.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import uvloop
from arguments import at_least
from demo_server import MIB
from overhead import HEIGHT, WIDTH, picture
from peer_report import publish
from peer_results import Comparison, Load, Round
from peer_servers import PATIENCE_S, bare_loop, servers, versions
from rich.console import Console
from rich.progress import track

from detector_grpc import configured
from detector_grpc.bench import load
from detector_grpc.bench.arrivals import poisson
from detector_grpc.bench.report import LoadReport
from detector_grpc.serving.cpu import cpu_limit
from detector_grpc.serving.repository import Sources

if TYPE_CHECKING:
    from peer_servers import Running

    from detector_grpc.bench.load import Measured
    from detector_grpc.client import CallFailed

WARM_UP_S = 0.5
MOST_UNANSWERED = 20_000
CLIENTS = (1, 4, 16)
EQUAL = (0.5, 0.7, 0.85)  # shares of what the bare loop does


def told(measured: Measured, deadline_s: float, clients: int = 0, cpu_ms: float | None = None) -> Load:
    """What a load came to."""
    report = LoadReport.of(measured, deadline_s)
    p50_ms, p99_ms = (0.0, 0.0) if report.latency is None else (report.latency.p50_ms, report.latency.p99_ms)
    return Load(
        clients,
        report.calls_per_s,
        report.goodput_per_s,
        p50_ms,
        p99_ms,
        sum(report.failed.values()),
        cpu_ms,
        report.cpu_ms_per_call,
    )


async def closed_loop(running: Running, clients: int, seconds: float) -> Load:
    """A closed loop, and what it cost the server; for that all calls count, those of the warm-up, too."""
    answered = 0

    async def call(number: int, timeout_s: float) -> CallFailed | None:
        nonlocal answered
        failure = await running.make_call(number, timeout_s)
        answered += failure is None
        return failure

    before = running.cpu_s()
    window = load.Window(WARM_UP_S, seconds)
    measured = await load.Load(call, window, PATIENCE_S, asyncio.Event()).closed_loop(clients)
    return told(measured, PATIENCE_S, clients, (running.cpu_s() - before) / max(answered, 1) * 1e3)


async def open_loop(running: Running, rate_per_s: float, window: load.Window, deadline_s: float, seed: int) -> Load:
    """Callers who do not know of each other."""
    arrivals = poisson(rate_per_s, window.whole_s, seed)
    generator = load.Load(running.make_call, window, deadline_s, asyncio.Event())
    return told(await generator.open_loop(arrivals, MOST_UNANSWERED), deadline_s)


async def one_round(
    running: Running, arguments: argparse.Namespace, bare_per_s: float, seed: int, *, overload_only: bool
) -> Round:
    """One server in one round."""
    clients = CLIENTS[1:] if overload_only else CLIENTS
    closed = [await closed_loop(running, each, arguments.seconds) for each in clients]
    memory_mib = running.memory_mib()
    window = load.Window(WARM_UP_S, arguments.seconds)
    equal = [
        await open_loop(running, share * bare_per_s, window, PATIENCE_S, seed)
        for share in (() if overload_only else EQUAL)
    ]
    overload = await open_loop(
        running,
        arguments.times * bare_per_s,
        load.Window(2 * arguments.deadline_s, arguments.overload_s),  # until the queue is as long as it gets
        arguments.deadline_s,
        seed,
    )
    await asyncio.sleep(0.5)
    before = running.cpu_s()
    await asyncio.sleep(2)
    afterwards_s = running.cpu_s() - before
    return Round(running.start_s, memory_mib, closed, equal, overload, afterwards_s)


async def measure(arguments: argparse.Namespace, repository: Path, jpeg: Path, data: bytes) -> Comparison:
    """All rounds."""
    processors = cpu_limit()
    look = partial(bare_loop, repository, jpeg, processors, arguments.seconds)
    bare_per_s = (await asyncio.to_thread(look))["pictures_per_s"]
    compared = servers(repository, data, processors, bare_per_s, arguments.deadline_s)
    bare: list[dict[str, float]] = []
    rounds: dict[str, list[Round]] = defaultdict(list)
    for number in track(range(arguments.rounds), "measuring", console=Console(stderr=True)):
        bare.append(await asyncio.to_thread(look))
        # Others take the first turn in every round, so that none is always the one that follows the bare loop.
        first = number % len(compared)
        names = [*compared][first:] + [*compared][:first]
        for name in names:
            server = compared[name]
            async with server.run() as running:
                rounds[name].append(
                    await one_round(running, arguments, bare_per_s, number, overload_only=server.overload_only)
                )
    (source,) = Sources([repository]).scan()
    return Comparison(
        model=f"{source.model} {source.version}",
        when=datetime.now(UTC).date().isoformat(),
        machine=machine(processors),
        processors=processors,
        versions=versions(),
        picture=f"JPEG of {WIDTH} x {HEIGHT} pixels, {len(data) // 1000} KB",
        times=arguments.times,
        deadline_ms=arguments.deadline_s * 1e3,
        settings={name: server.settings for name, server in compared.items()},
        bare=bare,
        rounds={name: rounds[name] for name in compared},
    )


def machine(processors: int) -> str:
    """Hardware and system, in words."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = names[0].partition(":")[2].strip() if names else platform.machine()
    memory_gib = psutil.virtual_memory().total / MIB / 1024
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    return (
        f"{name}, {processors} processors, {memory_gib:.0f} GiB, {system}, Python {platform.python_version()}, "
        f"load average at the end {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    """Measures, and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least(1), default=3)
    parser.add_argument("--seconds", type=float, default=3.5, help="of each load but the overload")
    parser.add_argument("--times", type=float, default=3, help="the overload, as a multiple of what a bare loop does")
    parser.add_argument("--overload-s", type=float, default=6)
    parser.add_argument("--deadline-s", type=float, default=1, help="of the callers of the overload")
    parser.add_argument("--repository", type=Path, help="with the only version to serve; the bundled codes v1 if none")
    parser.add_argument("--again", action="store_true", help="measure nothing, and write what was kept")
    arguments = parser.parse_args()
    if not arguments.again:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            jpeg, bundled = folder / "picture.jpg", folder / "models"
            jpeg.write_bytes(data := picture())
            (bundled / "codes").mkdir(parents=True)
            (bundled / "codes" / "v1").symlink_to(configured.BUNDLED / "models" / "codes" / "v1")
            uvloop.run(measure(arguments, arguments.repository or bundled, jpeg, data)).write()
    publish()


if __name__ == "__main__":
    main()
