"""What a newcomer sees first: the bundled picture, its boxes, and where to go from there."""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from detector_grpc import app
from detector_grpc.cli.detect import Job, look, show
from detector_grpc.client import AsyncDetector, DetectOptions

if TYPE_CHECKING:
    from detector_grpc.app import Addresses

COMMAND = shlex.quote(str(Path(sys.argv[0]).resolve()))
PICTURE = app.BUNDLED / "pictures" / "desk.jpg"


async def show_demo(addresses: Addresses) -> None:
    """Detects over gRPC like any client, and prints the boxes and the next steps."""
    address = f"{addresses.host}:{addresses.port}"
    annotated = Path(tempfile.mkdtemp(prefix="detector-grpc-")) / PICTURE.name
    async with AsyncDetector(address, app.BUNDLED_MODEL) as detector:
        outcome = await look(detector, Job(PICTURE, annotated), DetectOptions(), downscale=False)
    console = Console()
    show(console, outcome)
    console.print(
        f"With its boxes drawn: {annotated}\n\n"
        f"Serving gRPC on {address}, metrics on http://{addresses.host}:{addresses.metrics_port}/metrics. Next:\n"
        f"  {COMMAND} detect --address {address} --save annotated PICTURES…\n"
        f"  {COMMAND} models list --address {address}\n"
        f"  {COMMAND} health --address {address}\n"
        f"Ctrl-C stops.",
        highlight=False,
        soft_wrap=True,
    )
