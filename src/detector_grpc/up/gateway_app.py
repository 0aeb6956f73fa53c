"""The composition root of `gateway up`: Envoy and the process of the pages, before servers that are elsewhere."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING

from detector_grpc.gateway.envoy import envoy_binary
from detector_grpc.gateway.supervision.output import NamedOutput
from detector_grpc.json_log import JsonLog
from detector_grpc.stopping import Stopping
from detector_grpc.up.app import LAST_LINES_S
from detector_grpc.up.folder import own_folder
from detector_grpc.up.gateway import gateway_of, tolerance, until_none
from detector_grpc.up.own_settings import check_gateway_certificate, settings_of_gateway
from detector_grpc.up.readiness import until_gateway_listens
from detector_grpc.up.running import run_until_stopped

if TYPE_CHECKING:
    from detector_grpc.settings import Settings
    from detector_grpc.up.gateway import Gateway

log = logging.getLogger(__name__)


def run(settings: Settings, *, coloured: bool) -> None:
    """Serves until SIGTERM, SIGHUP or SIGINT, and stops all in order; at a second signal at once.

    Args:
        settings: All settings.
        coloured: Whether names in the log are.

    Raises:
        SetupInvalid: Something cannot start.
    """
    check_gateway_certificate(settings)
    output = NamedOutput(sys.stderr.fileno(), coloured=coloured)
    JsonLog(output.writer("gateway")).use(settings.log_level)
    try:
        asyncio.run(_serve(settings, output))
    finally:
        output.close(LAST_LINES_S)


async def _serve(settings: Settings, output: NamedOutput) -> None:
    stopping = Stopping()
    settings = settings_of_gateway(settings)
    with own_folder(settings.gateway.folder):
        gateway = gateway_of(settings, envoy_binary(), output)
        beside = [_tell(settings, gateway), *gateway.beside()]
        await run_until_stopped(stopping, gateway.children, beside, _stop(settings, stopping, gateway))
    stopping.raise_failure()


async def _tell(settings: Settings, gateway: Gateway) -> None:
    """Waits until Envoy takes calls, and says so."""
    await until_gateway_listens(gateway.admin, settings.gateway.http_port)
    log.info("ready", extra={"gateway": settings.gateway_address, "url": settings.gateway_url})


async def _stop(settings: Settings, stopping: Stopping, gateway: Gateway) -> None:
    """Stops both processes, once calls that are under way have been answered."""
    server = settings.server
    await gateway.leave(stopping, server.drain_wait_s)
    with tolerance():
        await until_none(gateway.admin.calls, server.grace_s)
    await gateway.stop(server.grace_s)
