"""What a newcomer sees first: the bundled picture, its boxes, and where to go from there."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from detector_grpc import configured
from detector_grpc.cli.detect import Job, look, show
from detector_grpc.cli.health import BUNDLED_PICTURE
from detector_grpc.client import AsyncDetector, CallFailed, DetectOptions

if TYPE_CHECKING:
    from detector_grpc.settings import Settings
    from detector_grpc.up.app import Places

COMMAND = shlex.quote(str(Path(sys.argv[0]).resolve()))


async def show_next_steps(settings: Settings, places: Places, *, folder: Path) -> None:
    """Looks at the bundled picture where the bundled model is served, and says what can be done next.

    Args:
        settings: All of them.
        places: Where all is reached.
        folder: Where the picture with its boxes goes.
    """
    console = Console(highlight=False, soft_wrap=True)
    address = places.gateway or places.servers[0]
    knows_callers = settings.auth.callers_file is not None
    if settings.demo and not knows_callers:  # else only somebody with credentials can call
        await _show_picture(console, address, folder / BUNDLED_PICTURE.name)
    token = " --token-file FILE" if knows_callers else ""
    reach = f"--address {address}{token}"
    steps = [f"detect {reach} --save annotated {BUNDLED_PICTURE.parent}", f"models list {reach}"]
    servers = " and ".join(places.servers)
    if places.url:
        url, inner = places.url, f"http://{address}"
        encrypted = f"with TLS, and for this machine on {address} without, " if url != inner else ""
        lines = [
            f"Serving gRPC and REST on {url.partition('//')[2]}, {encrypted}and gRPC alone on {servers}.",
            f"The page is {url}/, docs are {url}/docs, metrics {url}/metrics. Next:",
        ]
        state, port = settings.gateway.state, url.rpartition(":")[2]
        steps += [
            f"health --rest {inner}{token}",
            f"traffic get --state {state}" if state else f"traffic get --port {port}",
        ]
    else:
        lines = [f"Serving gRPC on {servers}, metrics on {' and '.join(places.metrics)}. Next:"]
        steps += [f"health {reach}"]
    console.print("\n".join([*lines, *(f"  {COMMAND} {step}" for step in steps), "Ctrl-C stops."]), markup=False)


async def _show_picture(console: Console, address: str, annotated: Path) -> None:
    """Detects over gRPC like any client, prints the boxes, and draws them into a file."""
    try:
        async with AsyncDetector(address, configured.BUNDLED_MODEL) as detector:
            outcome = await look(detector, Job(BUNDLED_PICTURE, annotated), DetectOptions(), downscale=False)
    except CallFailed as failure:
        console.print(f"The bundled picture could not be looked at: {failure}", markup=False)
        return
    show(console, outcome)
    if outcome.fault:
        console.print(f"The bundled picture could not be looked at: {outcome.fault}", markup=False)
    else:
        console.print(f"With its boxes drawn, as long as the servers run: {annotated}\n")
