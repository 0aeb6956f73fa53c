"""What it costs a request that pictures are kept for people, at traffic of which all is uncertain.

Servers of the bundled detector, one client, a new scene with every call. One keeps nothing; one has the budget that is
the default, which is used up within the first seconds; one has no budget to speak of and keeps whatever it can; two do
as these with a store of S3 that accepts connections and never answers; one more keeps nothing, to show what two
servers that do the same differ by. They are called in turns. Prints the CPU time of the server process for a request,
threads of capture included, and the latency as its caller sees it, each as a difference to the server that keeps
nothing, in the same rounds. To be run with the tests' own parts at hand:
`PYTHONPATH=tests python benchmarks/capture.py`.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from arguments import at_least
from beside import call_in_turns, table_of
from rich.console import Console
from support.calls import encoded_request
from support.metrics import read_metrics
from support.outage import EVERYTHING
from support.pictures import jpeg, qr_picture
from support.s3 import CREDENTIALS, Door
from support.samples import scene
from support.servers import BUNDLED_MODELS, server_process

from detector_grpc.capture.metrics import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import ServerProcess

    from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectRequest

CALLS = 40

# What was taken is decided on and brought in its own round.
SETTLE_S = 1.0

# Where nobody listens behind the door, since nothing passes it.
NOBODY = 9


def requests() -> Iterator[DetectRequest]:
    """New scenes of 640 x 480, each with a code in it."""
    code = qr_picture(640, 480).image
    for seed in itertools.count():
        image = scene(seed, 640, 480)
        image[66:260, 166:360] = code[66:260, 166:360]
        yield encoded_request(jpeg(image))


def main() -> None:
    """Starts everything, and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least(1), default=20, help="of each kind")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        door = stack.enter_context(closing(Door(NOBODY)))
        door.become("hanging")
        uncertain = {"UNCERTAINTY_THRESHOLD": 1}
        hanging = {"capture_sink": "s3", "capture_s3_endpoint": door.url, **CREDENTIALS}
        kinds: dict[str, dict[str, object]] = {
            "nothing": {"capture_sink": "off"},
            "the default budget": {"capture_sink": "folder", **uncertain},
            "the same, S3 hangs": {**hanging, **uncertain},
            "all that it can": {"capture_sink": "folder", **EVERYTHING},
            "all, S3 hangs": {**hanging, **EVERYTHING},
            "nothing, again": {"capture_sink": "off"},
        }
        servers = {
            name: stack.enter_context(
                server_process(repository=BUNDLED_MODELS, capture_state=folder / name, **settings)
            )
            for name, settings in kinds.items()
        }
        taken = call_in_turns(servers, requests(), arguments.rounds, CALLS, SETTLE_S)
        outcomes = {name: _outcomes(server) for name, server in servers.items()}
    console = Console(width=140)
    console.print(table_of(taken, "kept"))
    for name, counts in outcomes.items():
        console.print(f"{name}: {counts or 'none'}")


def _outcomes(server: ServerProcess) -> str:
    metrics = read_metrics(server)
    counts = {outcome: metrics.total("active_learning_pictures_total", outcome=outcome) for outcome in OUTCOMES}
    return ", ".join(f"{count:.0f} {outcome}" for outcome, count in counts.items() if count)


if __name__ == "__main__":
    main()
