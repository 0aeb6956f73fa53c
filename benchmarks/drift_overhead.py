"""What being watched for drift costs a request: three servers that observe nothing, a tenth and all, called in turns.

Each has the bundled detector, one client and the same picture; all tell one `drift serve`. Prints the CPU time of the
server process for a request, and the latency as its caller sees it, each as a difference to the server that observes
nothing, in the same rounds. To be run with the tests' own parts at hand:
`PYTHONPATH=tests python benchmarks/drift_overhead.py`.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from contextlib import ExitStack
from pathlib import Path

from arguments import at_least
from beside import call_in_turns, table_of
from rich.console import Console
from support.calls import encoded_request
from support.drifts import drift_process
from support.metrics import read_metrics
from support.pictures import jpeg, qr_picture
from support.servers import BUNDLED_MODELS, server_process

CALLS = 40

# What is observed is looked at and told in its own round.
SETTLE_S = 1.2

# Share of pictures, and most of them a second.
SAMPLED = {"none": (0.0, 10.0), "a tenth, the default": (0.1, 10.0), "all": (1.0, 1000.0)}


def main() -> None:
    """Starts everything, and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least(1), default=15, help="of each kind")
    arguments = parser.parse_args()
    requests = itertools.repeat(encoded_request(jpeg(qr_picture(640, 480).image)))
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
        taken = call_in_turns(servers, requests, arguments.rounds, CALLS, SETTLE_S)
        told = read_metrics(servers["all"]).total("object_detection_drift_observations_total", outcome="told")
    console = Console(width=140)
    console.print(table_of(taken, "observed"))
    console.print(f"{told:.0f} of {arguments.rounds * CALLS + 1} pictures were told of by the server that observes all")


if __name__ == "__main__":
    main()
