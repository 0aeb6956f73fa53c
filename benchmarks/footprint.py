"""What an idle server takes: the time until it serves, memory, and processor time, beside what they may be.

Every round starts a server of the bundled models with all defaults. It is idle as servers in production are: a balancer
asks for its health every second, Prometheus for its metrics every five.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.request import urlopen

import grpc
from arguments import at_least
from demo_server import demo_server
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from rich.console import Console
from rich.progress import track
from rich.table import Table

if TYPE_CHECKING:
    from demo_server import DemoServer

HEALTH_S, METRICS_S = 1, 5


class Footprint(NamedTuple):
    """Of one server."""

    start_s: float
    start_cpu_s: float
    rss_mb: float
    cpu_percent: float


# What each may be at most, in the order of a Footprint.
BOUNDS = {
    "start to SERVING, s": "2",
    "processor time of that, s": "",
    "resident memory, MB": "220",
    "idle, % of one processor": "1",
}


def idle_percent(server: DemoServer, seconds: int) -> float:
    """Processor time that it uses while nothing but health and metrics is asked for."""
    with grpc.insecure_channel(server.address) as channel:
        health = HealthStub(channel)
        health.Check(HealthCheckRequest())  # connects
        before_s, began = server.cpu_s(), time.perf_counter()
        for second in range(seconds):
            if second % HEALTH_S == 0:
                health.Check(HealthCheckRequest())
            if second % METRICS_S == 0:
                with urlopen(server.metrics_url) as response:  # noqa: S310 - our own server
                    response.read()
            time.sleep(1)
        return (server.cpu_s() - before_s) / (time.perf_counter() - began) * 100


def measure(idle_s: int) -> Footprint:
    """Starts one server."""
    began = time.perf_counter()
    with demo_server() as server:
        start_s = time.perf_counter() - began
        start_cpu_s = server.cpu_s()
        percent = idle_percent(server, idle_s)
        return Footprint(start_s, start_cpu_s, server.process.memory_info().rss / 1e6, percent)


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least(1), default=5)
    parser.add_argument("--idle-s", type=int, default=10, help="seconds for which each server is idle")
    arguments = parser.parse_args()
    rounds = [measure(arguments.idle_s) for _ in track(range(arguments.rounds), console=Console(stderr=True))]
    table = Table(f"{len(rounds)} starts", "median", "least", "most", "bound")
    for (name, bound), values in zip(BOUNDS.items(), zip(*rounds, strict=True), strict=True):
        figures = (statistics.median(values), min(values), max(values))
        table.add_row(name, *(f"{figure:.3g}" for figure in figures), bound)
    Console().print(table)


if __name__ == "__main__":
    main()
