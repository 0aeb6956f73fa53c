"""Whether processors are all that bounds servers that share them: said from one process, measured with several.

One server with one worker and a real model stands behind Envoy, with as many callers as keep it busy. From what it
answers a second, and from what all processes together take of the processors for a picture, follows what more servers
do on this machine: as many times as much, until the processors are full (docs/scaling.md).

Exit code 1 if any figure of two processes or more is off by more than a fifth. To be run with the tests' own parts at
hand, on a machine that nobody else uses: `PYTHONPATH=tests python benchmarks/shared_processors.py`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import psutil
import uvloop
from arguments import at_least, positive
from measure_cluster import CLIENTS, OFF, PROCESSES, WARM_UP_S, Figure, Measuring, show
from rich.console import Console
from support.gateways import running_gateway
from support.servers import BUNDLED_MODELS

from detector_grpc.configured import BUNDLED_MODEL
from detector_grpc.serving.cpu import cpu_limit


class Share(NamedTuple):
    """What servers came to.

    Attributes:
        per_s: Pictures a second.
        cpu_s: What servers, Envoy and callers together take of a processor for each.
    """

    per_s: float
    cpu_s: float


def measured(processes: int, seconds: float) -> Share:
    """So many servers, all of them busy."""
    plan = {"model": BUNDLED_MODEL}
    settings = {"repository": BUNDLED_MODELS, "runtime_workers": 1, "runtime_intra_op_threads": 1}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_gateway(Path(folder), processes, plan, **settings) as gateway,
    ):
        pids = [gateway.envoy.process.pid, *(server.process.pid for server in gateway.servers)]
        everyone = [psutil.Process(), *map(psutil.Process, pids)]
        before_s = cpu_clock_s(everyone)
        per_s, _ = uvloop.run(Measuring(gateway.address, seconds, BUNDLED_MODEL).clients(CLIENTS * processes))
        return Share(per_s, (cpu_clock_s(everyone) - before_s) / (per_s * (WARM_UP_S + seconds)))


def cpu_clock_s(processes: list[psutil.Process]) -> float:
    """What all of them took so far."""
    return sum(sum(each.cpu_times()[:2]) for each in processes)


def main() -> int:
    """Measures in turns, and says how far off it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=positive, default=10, help="of each measurement")
    parser.add_argument("--rounds", type=at_least(1), default=3)
    arguments = parser.parse_args()
    shares: defaultdict[int, list[Share]] = defaultdict(list)
    for _ in range(arguments.rounds):
        for processes in PROCESSES:
            shares[processes].append(measured(processes, arguments.seconds))
    alone = Share(*(statistics.median(column) for column in zip(*shares[1], strict=True)))
    most_per_s = cpu_limit() / alone.cpu_s
    figures = [
        Figure(
            processes,
            f"{CLIENTS * processes} clients",
            "answered, 1/s",
            min(processes * alone.per_s, most_per_s),
            statistics.median(share.per_s for share in shares[processes]),
        )
        for processes in PROCESSES
    ]
    console = Console()
    show(figures, console)
    console.print(f"{alone.cpu_s * 1e3:.1f} ms of {cpu_limit()} processors for a picture, with Envoy and callers")
    return int(max(figure.off for figure in figures[1:]) > OFF)


if __name__ == "__main__":
    sys.exit(main())
