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
    from collections.abc import Awaitable, Callable

    from detector_grpc.app import Addresses
    from detector_grpc.settings import Settings

COMMAND = shlex.quote(str(Path(sys.argv[0]).resolve()))
PICTURE = app.BUNDLED / "pictures" / "desk.jpg"


def demo(settings: Settings) -> Callable[[Addresses], Awaitable[None]]:
    """Shows the demonstration as far as these settings let anybody in."""
    flags = ""
    if settings.tls.certificate is not None:
        flags += f" --tls-ca {settings.tls.certificate}"
    if settings.tls.client_authority is not None:
        flags += " --tls-cert FILE --tls-key FILE"
    if settings.auth.callers_file is not None:
        flags += " --token-file FILE"

    async def show_demo(addresses: Addresses) -> None:
        address = f"{addresses.host}:{addresses.port}"
        console = Console()
        if not flags:  # else only somebody with credentials can call
            await _show_picture(console, address)
        reach = f"--address {address}{flags}"
        console.print(
            f"Serving gRPC on {address}, metrics on http://{addresses.host}:{addresses.metrics_port}/metrics. Next:\n"
            f"  {COMMAND} detect {reach} --save annotated {PICTURE.parent}\n"
            f"  {COMMAND} models list {reach}\n"
            f"  {COMMAND} health {reach}\n"
            f"Ctrl-C stops.",
            highlight=False,
            soft_wrap=True,
        )

    return show_demo


async def _show_picture(console: Console, address: str) -> None:
    """Detects over gRPC like any client, and prints the boxes."""
    folder = tempfile.mkdtemp(prefix="detector-grpc-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    annotated = Path(folder) / PICTURE.name
    try:
        async with AsyncDetector(address, app.BUNDLED_MODEL) as detector:
            outcome = await look(detector, Job(PICTURE, annotated), DetectOptions(), downscale=False)
    except CallFailed as failure:
        console.print(f"The bundled picture could not be looked at: {failure}", markup=False, soft_wrap=True)
        return
    show(console, outcome)
    if outcome.fault:
        console.print(f"The bundled picture could not be looked at: {outcome.fault}", markup=False, soft_wrap=True)
    else:
        console.print(
            f"With its boxes drawn, as long as the server runs: {annotated}\n", highlight=False, soft_wrap=True
        )
