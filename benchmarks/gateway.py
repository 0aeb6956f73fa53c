"""What the gateway adds: the same picture, sent straight to a server and through Envoy, in turns, one call at a time.

Four ways to the same server and the same small model: gRPC straight, gRPC through Envoy, REST with the picture as the
body, and REST with JSON and base64. Each round makes one call in each way, in changing order; what counts is the
difference to the straight call of the same round. CPU time is that of Envoy's process. To be run with the tests' own
parts at hand: `PYTHONPATH=tests python benchmarks/gateway.py`.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import psutil
from arguments import at_least
from rich.console import Console
from rich.progress import track
from rich.table import Table
from support.calls import connected, encoded_request
from support.gateways import running_gateway
from support.rest import Rest

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH, HEIGHT = 640, 480
TARGET_BYTES = 100_000
WARM_UP = 50
STRAIGHT = "gRPC, straight"


def picture() -> bytes:
    """A JPEG of about 100 KB."""
    coarse = np.random.default_rng(0).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    noise = np.random.default_rng(1).integers(0, 40, (HEIGHT, WIDTH, 3), np.uint8)
    image = cv2.add(cv2.resize(coarse, (WIDTH, HEIGHT)), noise)
    files = (
        cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes() for quality in range(50, 100)
    )
    return min(files, key=lambda data: abs(len(data) - TARGET_BYTES))


def posting(rest: Rest, body: bytes, content_type: str) -> Callable[[], object]:
    """A call of REST."""

    def post() -> None:
        if rest("POST", "/predict", body, content_type).status != 200:
            raise SystemExit("a call failed")

    return post


def main() -> None:
    """Starts everything, and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=at_least(2), default=1000)
    arguments = parser.parse_args()
    encoded = picture()
    request = encoded_request(encoded)
    with ExitStack() as stack:
        gateway = stack.enter_context(running_gateway(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        straight = stack.enter_context(connected(gateway.servers[0].address))
        through = stack.enter_context(connected(gateway.address))
        raw, wrapped = (stack.enter_context(closing(Rest(gateway.address))) for _ in range(2))
        json_body = json.dumps({"image": base64.b64encode(encoded).decode()}).encode()
        ways: dict[str, Callable[[], object]] = {
            STRAIGHT: lambda: straight.detect(request),
            "gRPC, through Envoy": lambda: through.detect(request),
            "REST, the picture": posting(raw, encoded, "image/jpeg"),
            "REST, JSON": posting(wrapped, json_body, "application/json"),
        }
        for way in ways.values():
            for _ in range(WARM_UP):
                way()
        envoy = psutil.Process(gateway.envoy.process.pid)
        taken_ms: dict[str, list[float]] = {name: [] for name in ways}
        cpu_ms = dict.fromkeys(ways, 0.0)
        order = list(ways)
        for _ in track(range(arguments.rounds), console=Console(stderr=True)):
            for name in order:
                spent, began = sum(envoy.cpu_times()[:2]), time.perf_counter()
                ways[name]()
                taken_ms[name].append((time.perf_counter() - began) * 1e3)
                cpu_ms[name] += (sum(envoy.cpu_times()[:2]) - spent) * 1e3
            order.append(order.pop(0))
    table = Table(f"{len(encoded)} bytes", "median ms", "adds ms", "quartiles", "Envoy's CPU ms")
    for name, values in taken_ms.items():
        added = [value - base for value, base in zip(values, taken_ms[STRAIGHT], strict=True)]
        low, middle, high = statistics.quantiles(added, n=4)
        table.add_row(
            name,
            f"{statistics.median(values):.2f}",
            f"{middle:.2f}",
            f"{low:.2f} to {high:.2f}",
            f"{cpu_ms[name] / arguments.rounds:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
