"""Whether all that is captured in an outage of S3 is there in the end: ten minutes, 500 samples, one `kill -9`.

The store refuses connections, hangs, and answers 503, for a third of the time each; the server is killed while it
hangs. A store that checks signatures then has to have every sample once, bit for bit. To be run with the tests' own
parts at hand: `PYTHONPATH=tests python benchmarks/capture_outage.py`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from support.outage import check, live_through_an_outage


def main() -> None:
    """Lives through it, and tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=10.0, help="that the store is away")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        outage = live_through_an_outage(
            Path(folder), arguments.samples, each_s=arguments.minutes * 60 / 3, patience_s=600
        )
    check(outage)
    p50, p99 = np.quantile(outage.answered_s, (0.5, 0.99)) * 1e3
    print(f"{len(outage.sent)} samples captured in {arguments.minutes:g} minutes without a store")
    print(f"{outage.waiting} waited when the server was killed; all are in the store, each once, bit for bit")
    print(f"{time.monotonic() - began:.0f} s in all; calls meanwhile took {p50:.1f} ms (median), {p99:.1f} ms (p99)")


if __name__ == "__main__":
    main()
