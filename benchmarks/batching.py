"""How batches form in front of an engine that has the cost curve of a GPU, and what that is worth.

Threads run pictures through one session, each the next when the one before is answered, with batches of up to sixteen
and of one; the engines (benchmarks/engine.py) take so long for a batch and for each picture, and no processor.
"""

from __future__ import annotations

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from engine import Curve, CurveEngine, exact_sleep
from rich.console import Console
from rich.table import Table

from detector_grpc.serving.batching import BatchingSession

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector_grpc.serving.rows import Row

CALLERS = (1, 2, 4, 8, 16, 32, 64)
PICTURE = {"pictures": np.zeros((1, 320, 320, 3), np.uint8)}


class CountingEngine(CurveEngine):
    """Also counts.

    Attributes:
        batches: Pictures in each batch, in order.
    """

    def __init__(self, curve: Curve) -> None:
        super().__init__(curve)
        self.batches: list[int] = []

    def run_batch(self, rows: Sequence[Row], size: int) -> None:
        """See CurveEngine."""
        self.batches.append(len(rows))
        super().run_batch(rows, size)


class Measured(NamedTuple):
    """What so many callers got."""

    pictures_per_s: float
    mean_batch: float
    p50_ms: float
    p99_ms: float


def measure(curve: Curve, callers: int, max_batch: int, engines: int, seconds: float) -> Measured:
    """One closed loop."""
    counting = [CountingEngine(curve) for _ in range(engines)]
    with closing(BatchingSession(counting, max_batch)) as session, ThreadPoolExecutor(callers) as threads:
        session.run(PICTURE, ["output0"])
        for engine in counting:
            engine.batches.clear()
        until = time.perf_counter() + seconds

        def call(_: int) -> list[float]:
            latencies = []
            while (began := time.perf_counter()) < until:
                session.run(PICTURE, ["output0"])
                latencies.append(time.perf_counter() - began)
            return latencies

        latencies = [each * 1e3 for part in threads.map(call, range(callers)) for each in part]
        batches = [batch for engine in counting for batch in engine.batches]
    percentiles = statistics.quantiles(latencies, n=100)
    return Measured(len(latencies) / seconds, statistics.mean(batches), percentiles[49], percentiles[98])


def main() -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-ms", type=float, default=4.0, help="that a batch takes")
    parser.add_argument("--picture-ms", type=float, default=0.25, help="that each picture of it takes more")
    parser.add_argument("--engines", type=int, default=2)
    parser.add_argument("--max-batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each point")
    arguments = parser.parse_args()
    exact_sleep()
    curve = Curve(arguments.batch_ms / 1e3, arguments.picture_ms / 1e3)
    table = Table("callers", "batch", "pictures/s", "p50 ms", "p99 ms", "one by one: pictures/s", "p50 ms", "p99 ms")
    for callers in CALLERS:
        batched, single = (
            measure(curve, callers, most, arguments.engines, arguments.seconds) for most in (arguments.max_batch, 1)
        )
        columns = (batched.mean_batch, batched.pictures_per_s, *batched[2:], single.pictures_per_s, *single[2:])
        table.add_row(str(callers), *(f"{value:.1f}" for value in columns))
    console = Console()
    console.print(
        f"{arguments.engines} engines, {arguments.batch_ms} ms a batch and {arguments.picture_ms} ms a picture"
    )
    console.print(table)


if __name__ == "__main__":
    main()
