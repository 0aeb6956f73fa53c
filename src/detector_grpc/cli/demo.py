"""What a newcomer sees first: the bundled picture, its boxes, and where to go from there."""

from __future__ import annotations

import atexit
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from detector_grpc import app
from detector_grpc.cli.detect import Job, look, show
from detector_grpc.client import AsyncDetector, CallFailed, DetectOptions

if TYPE_CHECKING:
    from detector_grpc.settings import Settings
    from detector_grpc.up.app import Places

COMMAND = shlex.quote(str(Path(sys.argv[0]).resolve()))
PICTURE = app.BUNDLED / "pictures" / "desk.jpg"


async def show_next_steps(settings: Settings, places: Places) -> None:
    """Looks at the bundled picture where the bundled model is served, and says what can be done next."""
    console = Console(highlight=False, soft_wrap=True)
    address = places.gateway or places.servers[0]
    knows_callers = settings.auth.callers_file is not None
    if settings.demo and not knows_callers:  # else only somebody with credentials can call
        await _show_picture(console, address)
    servers = " and ".join(places.servers)
    if places.gateway:
        url = f"http://{address}"
        console.print(f"Serving gRPC and REST on {address}, gRPC alone on {servers}.")
        console.print(f"The page is {url}/, the docs {url}/docs, metrics {url}/metrics. Next:")
        if not knows_callers:
            console.print(f"  curl --form file=@{PICTURE} {url}/predict")
    else:
        console.print(f"Serving gRPC on {servers}, metrics on {' and '.join(places.metrics)}. Next:")
    reach = f"--address {address}{' --token-file FILE' if knows_callers else ''}"
    console.print(
        f"  {COMMAND} detect {reach} --save annotated {PICTURE.parent}\n"
        f"  {COMMAND} models list {reach}\n"
        f"  {COMMAND} health {reach}\n"
        f"Ctrl-C stops."
    )


async def _show_picture(console: Console, address: str) -> None:
    """Detects over gRPC like any client, and prints the boxes."""
    folder = tempfile.mkdtemp(prefix="detector-grpc-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    annotated = Path(folder) / PICTURE.name
    try:
        async with AsyncDetector(address, app.BUNDLED_MODEL) as detector:
            outcome = await look(detector, Job(PICTURE, annotated), DetectOptions(), downscale=False)
    except CallFailed as failure:
        console.print(f"The bundled picture could not be looked at: {failure}", markup=False)
        return
    show(console, outcome)
    if outcome.fault:
        console.print(f"The bundled picture could not be looked at: {outcome.fault}", markup=False)
    else:
        console.print(f"With its boxes drawn, as long as the servers run: {annotated}\n")
