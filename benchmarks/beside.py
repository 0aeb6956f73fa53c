"""Servers that differ in one thing, called in turns: what a request costs each of them, and what its caller waits."""

from __future__ import annotations

import statistics
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import psutil
from paired import median_of
from rich.console import Console
from rich.progress import track
from rich.table import Table
from support.calls import SERVING, connected

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.servers import ServerProcess

    from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectRequest


@dataclass
class Taken:
    """Of one server.

    Attributes:
        cpu_ms: Processor time of the process for a request, round by round.
        latency_ms: As its caller sees it, call by call, round by round.
    """

    cpu_ms: list[float] = field(default_factory=list)
    latency_ms: list[list[float]] = field(default_factory=list)


def call_in_turns(
    servers: Mapping[str, ServerProcess], requests: Iterator[DetectRequest], rounds: int, calls: int, settle_s: float
) -> dict[str, Taken]:
    """Calls each server so often in a round; what it does afterwards, for so many seconds, belongs to its round.

    Another one begins each round, since the first one may pay for what the last one left behind.
    """
    taken = {name: Taken() for name in servers}
    with ExitStack() as stack:
        clients = {name: stack.enter_context(connected(server.address)) for name, server in servers.items()}
        for client in clients.values():
            client.wait_for_status(SERVING)
            client.detect(next(requests))
        order = deque(servers)
        for _ in track(range(rounds), console=Console(stderr=True)):
            order.rotate()
            for name in order:
                process, latencies = psutil.Process(servers[name].process.pid), []
                before_s = _cpu_s(process)
                for _ in range(calls):
                    request = next(requests)
                    began = time.perf_counter()
                    clients[name].detect(request)
                    latencies.append((time.perf_counter() - began) * 1e3)
                time.sleep(settle_s)
                taken[name].cpu_ms.append((_cpu_s(process) - before_s) * 1e3 / calls)
                taken[name].latency_ms.append(latencies)
    return taken


def table_of(taken: Mapping[str, Taken], title: str) -> Table:
    """Each server beside the first one, by the differences of the same rounds."""
    base, *_ = taken.values()
    base_medians = [statistics.median(each) for each in base.latency_ms]
    table = Table(title, "CPU ms a request", "more", "median ms", "more", "p99 ms of all", "more")
    for name, each in taken.items():
        medians = [statistics.median(latencies) for latencies in each.latency_ms]
        p99, base_p99 = (np.quantile(np.concatenate(of.latency_ms), 0.99) for of in (each, base))
        table.add_row(
            name,
            f"{statistics.median(each.cpu_ms):.2f}",
            str(median_of(np.subtract(each.cpu_ms, base.cpu_ms).tolist())),
            f"{statistics.median(medians):.2f}",
            str(median_of(np.subtract(medians, base_medians).tolist())),
            f"{p99:.1f}",
            f"{p99 - base_p99:+.1f}",
        )
    return table


def _cpu_s(process: psutil.Process) -> float:
    """Processor time that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)
