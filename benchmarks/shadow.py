"""What copies of all calls cost those who wait for the first answer: rounds with a shadow and without, in turns.

One server of the bundled detector behind Envoy, one client, large pictures; every call of every second round is copied
to the other version on the same machine. Prints the latency as the caller sees it, and what the copies came to. To be
run with the tests' own parts at hand: `PYTHONPATH=tests python benchmarks/shadow.py`.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
from arguments import at_least
from rich.console import Console
from rich.progress import track
from rich.table import Table
from support.calls import connected, encoded_request
from support.gateways import running_gateway
from support.metrics import read_metrics
from support.servers import BUNDLED_MODELS

CALLS = 40
SHADOWS: dict[str, dict[str, float]] = {"no copies": {}, "all copied": {"v2": 1.0}}


def picture() -> bytes:
    """A JPEG of about 3 MB."""
    image = np.random.default_rng(0).integers(0, 256, (1100, 1500, 3), np.uint8)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()


def free_port() -> int:
    """A port that servers can be told before Envoy listens there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def main() -> None:
    """Starts everything, and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least(2), default=10, help="of each kind")
    arguments = parser.parse_args()
    request, port = encoded_request(picture()), free_port()
    taken_ms: dict[str, list[float]] = {name: [] for name in SHADOWS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "key").write_bytes(b"a secret of sixteen bytes or more")
        gateway = stack.enter_context(
            running_gateway(
                folder,
                plan={"port": port, "model": "codes"},
                repository=BUNDLED_MODELS,
                gateway_port=port,
                streams_resume_key_file=folder / "key",
            )
        )
        client = stack.enter_context(connected(gateway.address))
        for _ in track(range(arguments.rounds), console=Console(stderr=True)):
            for name, shadow in SHADOWS.items():
                gateway.share(shadow=shadow, v1=100)
                for _ in range(CALLS):
                    began = time.perf_counter()
                    client.detect(request)
                    taken_ms[name].append((time.perf_counter() - began) * 1e3)
                time.sleep(1)  # copies that are on their way belong to their own round
        copies = {
            became: int(read_metrics(gateway.servers[0]).total("object_detection_shadow_copies_total", outcome=became))
            for became in ("compared", "failed", "dropped")
        }
    table = Table(f"{len(request.image.encoded)} bytes", "calls", "median ms", "p99 ms")
    for name, values in taken_ms.items():
        p99 = statistics.quantiles(values, n=100)[98]
        table.add_row(name, str(len(values)), f"{statistics.median(values):.1f}", f"{p99:.1f}")
    console = Console()
    console.print(table)
    console.print("copies: " + ", ".join(f"{count} {became}" for became, count in copies.items()))


if __name__ == "__main__":
    main()
