"""Several times as much as the server can do: what of it is still done in time, and what do the others cost?

Serves a network that costs what YOLOv9-T does, or the only version of a repository, and for each multiple first asks
with a few clients what the server can do, and then for so many times that, from callers who do not know of each other.
The generator runs beside the server on the same processors; what it takes of them is told, and taken off the capacity.
How long a refusal takes is told twice: by the server's own histogram, and as callers see it. Where others work on the
machine, only what the server spends for each answer in time says something, beside what it spends without overload.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.request import urlopen

import uvloop
from cameras import verdict
from demo_server import repository_server
from nets import write_repository
from overhead import picture
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from detector_grpc.bench.arrivals import poisson
from detector_grpc.bench.load import Load, Window
from detector_grpc.bench.overload import Multiple
from detector_grpc.bench.report import LoadReport
from detector_grpc.client.bare import BareDetector
from detector_grpc.serving.cpu import cpu_limit

if TYPE_CHECKING:
    from demo_server import DemoServer

PATIENCE_S = 60.0
CLOSED_S = 10.0
CLIENTS = 8  # that it takes to see what a server can do
CONNECTIONS = 4
MOST_UNANSWERED = 20_000
REFUSAL_HISTOGRAM = "object_detection_refusal_duration_seconds_bucket"

# Seconds after the callers have left, and how long is looked then.
AFTER_S, LOOKED_S = 1.0, 1.0

# What there has to be of goodput, by the least multiple for which it holds.
LEAST_GOODPUT = {10.0: 0.85, 1.0: 0.95}
MOST_REFUSAL_SERVER_S = 0.005
MOST_REFUSAL_CLIENT_MS = 50.0
MOST_BUSY_AFTER = 0.05


class Figures(NamedTuple):
    """What one multiple came to.

    Attributes:
        capacity: The closed loop just before.
        of: The overload.
        soon: Share of the refusals that the server made within what it may take.
        closed_cpu_ms: Processor time of the server for each answer of the closed loop.
        cpu_ms: The same for each answer in time of the overload, all that is refused or comes to nothing included.
        busy_after: Processors that the server keeps busy a second after the callers have left.
    """

    capacity: LoadReport
    of: Multiple
    soon: float
    closed_cpu_ms: float
    cpu_ms: float
    busy_after: float


def refusals(server: DemoServer) -> dict[float, float]:
    """Numbers of refusals by the seconds that they took at most."""
    with urlopen(server.metrics_url) as response:  # noqa: S310 - our own server
        families = text_string_to_metric_families(response.read().decode())
    samples = (sample for family in families for sample in family.samples)
    return {float(each.labels["le"]): each.value for each in samples if each.name == REFUSAL_HISTOGRAM}


async def measured(
    server: DemoServer, detector: BareDetector, times: float, arguments: argparse.Namespace, seed: int
) -> Figures:
    """One multiple."""
    stop, deadline_s, window = asyncio.Event(), arguments.deadline_s, Window(0, arguments.seconds)
    cpu_s = server.cpu_s()
    closed = await Load(detector.detect, Window(0, CLOSED_S), PATIENCE_S, stop).closed_loop(CLIENTS)
    capacity = LoadReport.of(closed, PATIENCE_S)
    closed_cpu_ms = (server.cpu_s() - cpu_s) / (capacity.answered + CLIENTS) * 1e3
    arrivals_s = poisson(times * capacity.answered_per_s, arguments.seconds, seed)
    before, cpu_s = refusals(server), server.cpu_s()
    found = await Load(detector.detect, window, deadline_s, stop).open_loop(arrivals_s, MOST_UNANSWERED)
    spent_s, load = server.cpu_s() - cpu_s, LoadReport.of(found, deadline_s)
    await asyncio.sleep(AFTER_S)
    cpu_s = server.cpu_s()
    await asyncio.sleep(LOOKED_S)
    busy_after = (server.cpu_s() - cpu_s) / LOOKED_S
    refused = {most_s: count - before[most_s] for most_s, count in refusals(server).items()}
    return Figures(
        capacity,
        Multiple.of(times, capacity, load, cpu_limit()),
        refused[MOST_REFUSAL_SERVER_S] / max(refused[float("inf")], 1),
        closed_cpu_ms,
        spent_s / max(load.answered - load.late, 1) * 1e3,
        busy_after,
    )


async def measured_all(server: DemoServer, model: str, version: str, arguments: argparse.Namespace) -> list[Figures]:
    """All multiples, one after the other."""
    detector = BareDetector(server.address, model, version, token=None, tls=None, connections=CONNECTIONS)
    async with detector:
        await detector.prepare([picture()], {}, downscale=False)
        return [await measured(server, detector, times, arguments, seed) for seed, times in enumerate(arguments.times)]


def show(console: Console, all_figures: list[Figures]) -> None:
    """Prints a column for each multiple."""
    table = Table("", *(f"{each.of.times:g} times" for each in all_figures))
    for name, values in {
        "capacity, per second": [f"{each.capacity.answered_per_s:.1f}" for each in all_figures],
        "calls per second": [f"{each.of.load.calls_per_s:.1f}" for each in all_figures],
        "goodput, per second": [f"{each.of.load.goodput_per_s:.1f}" for each in all_figures],
        "goodput / capacity": [f"{each.of.goodput_to_capacity:.3f}" for each in all_figures],
        "  less what the generator takes": [f"{each.of.goodput_to_rest:.3f}" for each in all_figures],
        "answered, p50 and p99, ms": [_both(each.of.load, "latency") for each in all_figures],
        "refused, p50 and p99, ms": [_both(each.of.load, "refused") for each in all_figures],
        f"refused within {MOST_REFUSAL_SERVER_S * 1e3:g} ms by the server": [f"{e.soon:.2%}" for e in all_figures],
        "sent late by, p50 and p99, ms": [_both(each.of.load, "lateness") for each in all_figures],
        "generator, CPU-ms per call": [f"{each.of.load.cpu_ms_per_call:.2f}" for each in all_figures],
        "server, CPU-ms per answer in time": [f"{each.cpu_ms:.2f}" for each in all_figures],
        "  without overload": [f"{each.closed_cpu_ms:.2f}" for each in all_figures],
        "server, processors busy after": [f"{each.busy_after:.3f}" for each in all_figures],
        "failed": [", ".join(f"{k} {v}" for k, v in each.of.load.failed.items()) for each in all_figures],
    }.items():
        table.add_row(name, *values)
    console.print(table)


def _both(load: LoadReport, which: str) -> str:
    of = getattr(load, which)
    return f"{of.p50_ms:.1f}, {of.p99_ms:.1f}" if of else ""


def show_bars(console: Console, figures: Figures, deadline_s: float) -> None:
    """Prints which of the bars hold."""
    load, times = figures.of.load, f"{figures.of.times:g} times"
    least = next(goodput for multiple, goodput in LEAST_GOODPUT.items() if figures.of.times >= multiple)
    goodput = figures.of.goodput_to_rest
    console.print(verdict(goodput >= least, f"{times}: goodput at least {least:g} of the capacity: {goodput:.3f}"))
    soon = f"{times}: refused by the server within {MOST_REFUSAL_SERVER_S * 1e3:g} ms, p99: {figures.soon:.2%}"
    console.print(verdict(figures.soon >= 0.99, soon))
    if load.refused is not None:
        text = f"{times}: refused at the client within {MOST_REFUSAL_CLIENT_MS:g} ms, p99: {load.refused.p99_ms:.1f}"
        console.print(verdict(load.refused.p99_ms <= MOST_REFUSAL_CLIENT_MS, text))
    if load.latency is not None:
        text = f"{times}: answered within {deadline_s:g} s, p99: {load.latency.p99_ms:.0f} ms"
        console.print(verdict(load.latency.p99_ms <= deadline_s * 1e3, text))
    text = f"{times}: idle {AFTER_S:g} s after the callers have left: {figures.busy_after:.3f} processors"
    console.print(verdict(figures.busy_after <= MOST_BUSY_AFTER, text))


def only_version(repository: Path) -> tuple[str, str]:
    """Names of the only model and version of a repository."""
    (file,) = repository.glob("*/*/model.onnx")
    return file.parts[-3], file.parts[-2]


def main() -> None:
    """Serves, asks for too much, and says whether the bars hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=float, nargs="+", default=[3, 10], help="multiples of the capacity")
    parser.add_argument("--seconds", type=float, default=60, help="of each multiple")
    parser.add_argument("--deadline-s", type=float, default=1)
    parser.add_argument("--repository", type=Path, help="model repository with one version")
    arguments = parser.parse_args()
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        repository = arguments.repository or write_repository(Path(folder))
        with repository_server(repository) as server:
            figures = uvloop.run(measured_all(server, *only_version(repository), arguments))
    show(console, figures)
    for each in figures:
        show_bars(console, each, arguments.deadline_s)


if __name__ == "__main__":
    main()
