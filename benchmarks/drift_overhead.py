"""What being watched for drift costs a request: three servers that observe nothing, a tenth and all, called in turns.

Each has the bundled detector, one client and the same picture; all tell one `drift serve`. Prints the CPU time of the
server process for a request, and the latency as its caller sees it, each as a difference to the server that observes
nothing, in the same rounds. To be run with the tests' own parts at hand:
`PYTHONPATH=tests python benchmarks/drift_overhead.py`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
from paired import median_of
from rich.console import Console
from rich.progress import track
from rich.table import Table
from support.calls import SERVING, connected, encoded_request
from support.drifts import drift_process
from support.metrics import read_metrics
from support.pictures import jpeg, qr_picture
from support.servers import BUNDLED_MODELS, server_process

CALLS = 40

# Share of pictures, and most of them a second.
SAMPLED = {"none": (0.0, 10.0), "a tenth, the default": (0.1, 10.0), "all": (1.0, 1000.0)}


def cpu_s(process: psutil.Process) -> float:
    """Processor time that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Starts everything, and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="of each kind")
    arguments = parser.parse_args()
    request = encoded_request(jpeg(qr_picture(640, 480).image))
    taken_ms: dict[str, list[list[float]]] = {name: [] for name in SAMPLED}
    cpu_ms: dict[str, list[float]] = {name: [] for name in SAMPLED}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        watching = stack.enter_context(drift_process(folder))
        servers = {
            name: stack.enter_context(
                server_process(
                    repository=BUNDLED_MODELS,
                    drift_target=watching.address,
                    drift_sample_rate=rate,
                    drift_max_per_s=most,
                )
            )
            for name, (rate, most) in SAMPLED.items()
        }
        clients = {name: stack.enter_context(connected(server.address)) for name, server in servers.items()}
        for client in clients.values():
            client.wait_for_status(SERVING)
            client.detect(request)
        for _ in track(range(arguments.rounds), console=Console(stderr=True)):
            for name, server in servers.items():
                process, latencies = psutil.Process(server.process.pid), []
                before = cpu_s(process)
                for _ in range(CALLS):
                    began = time.perf_counter()
                    clients[name].detect(request)
                    latencies.append((time.perf_counter() - began) * 1e3)
                time.sleep(1.2)  # what is observed is looked at and told in its own round
                cpu_ms[name].append((cpu_s(process) - before) * 1e3 / CALLS)
                taken_ms[name].append(latencies)
        told = read_metrics(servers["all"]).total("object_detection_drift_observations_total", outcome="told")
    none = "none"
    table = Table("observed", "CPU ms a request", "more", "median ms", "more", "p99 ms of all", "more")
    for name in SAMPLED:
        more_cpu = median_of(np.subtract(cpu_ms[name], cpu_ms[none]).tolist())
        medians = [statistics.median(each) for each in taken_ms[name]]
        more = median_of(np.subtract(medians, [statistics.median(each) for each in taken_ms[none]]).tolist())
        p99, base_p99 = (np.quantile(np.concatenate(taken_ms[each]), 0.99) for each in (name, none))
        table.add_row(
            name,
            f"{statistics.median(cpu_ms[name]):.2f}",
            str(more_cpu),
            f"{statistics.median(medians):.2f}",
            str(more),
            f"{p99:.1f}",
            f"{p99 - base_p99:+.1f}",
        )
    console = Console(width=140)
    console.print(table)
    console.print(f"{told:.0f} of {arguments.rounds * CALLS + 1} pictures were told of by the server that observes all")


if __name__ == "__main__":
    main()
