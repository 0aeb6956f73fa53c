"""The composition root of the gateway's HTTP process: settings become objects, which run until a signal, and drain."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
import uvloop
from aiohttp import web

from detector_grpc.client import AsyncDetector, CallFailed, TlsFiles
from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.accepted import accepted
from detector_grpc.gateway.assets import read_assets
from detector_grpc.gateway.health import ServerHealth, ServerStatus, ask_all
from detector_grpc.gateway.http import Sources, application
from detector_grpc.gateway.metrics import SummedMetrics
from detector_grpc.gateway.state import State
from detector_grpc.json_log import logging_to_stderr
from detector_grpc.setting_sections.base import LOOPBACK
from detector_grpc.settings import read_token
from detector_grpc.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from detector_grpc.settings import Settings

log = logging.getLogger(__name__)

# No less than Envoy lets through.
MAX_HEADER_BYTES = 64 * 1024

# What the files say, and where they are, is for operators.
OTHER_FILES = "The gateway's files say something else: `detector-grpc traffic get` says what."


def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, and answers what was asked until then.

    Raises:
        SetupInvalid: The process cannot start.
    """
    with (
        logging_to_stderr(settings.log_level),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stopping = Stopping()
    gateway = settings.gateway
    token = read_token(gateway.token_file)
    tls = TlsFiles(authority=gateway.servers_authority) if gateway.servers_authority else None
    state = State(gateway.folder)
    async with aiohttp.ClientSession() as session:
        sources = Sources(
            assets=await asyncio.to_thread(read_assets),
            health=partial(ask_all, settings.server_addresses, partial(_probe, token=token, tls=tls)),
            metrics=SummedMetrics([*settings.metrics_addresses, *settings.drift_metrics], session).text,
            traffic=partial(_traffic, state),
        )
        runner = web.AppRunner(
            application(sources),
            access_log=None,
            shutdown_timeout=settings.server.grace_s,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )
        await runner.setup()
        try:
            port = await _listen(runner, gateway.http_port)
            log.info("listening", extra={"host": LOOPBACK, "port": port})
            await stopping.begun.wait()
        finally:
            await runner.cleanup()
    log.info("stopped")


async def _listen(runner: web.AppRunner, port: int) -> int:
    """The port, which the system chooses where it is 0."""
    try:
        await web.TCPSite(runner, LOOPBACK, port).start()  # Envoy stands before it, on this machine or in its pod
    except OSError as error:
        raise SetupInvalid(
            [f"cannot listen on {LOOPBACK}:{port} (DETECTOR_GATEWAY_HTTP_PORT): {error.strerror}"]
        ) from error
    return int(runner.addresses[0][1])


async def _traffic(state: State) -> Mapping[str, Any] | None:
    """How Envoy shares calls, as JSON has it; None where it cannot be asked."""
    try:
        model, now = await asyncio.to_thread(lambda: (state.plan().model, accepted(state)))
    except SetupInvalid as error:
        log.warning("there is no traffic to tell of", extra={"cause": error.message})
        return None
    return {"model": model, **asdict(now.traffic)} | ({"fault": OTHER_FILES} if now.faults else {})


async def _probe(address: str, token: str | None, tls: TlsFiles | None) -> ServerHealth:
    """Asks a server on a connection of its own, so that none waits for one that was down a moment ago."""
    async with AsyncDetector(address, token=token, tls=tls) as detector:
        try:
            status = ServerStatus(await detector.health())
        except CallFailed:
            return ServerHealth(ServerStatus.UNREACHABLE)
        try:
            names = [(held.model, held.version) for held in await detector.models()]
            words = [detector.health(f"models/{model}/versions/{version}") for model, version in names]
            serving = [word == ServerStatus.SERVING for word in await asyncio.gather(*words)]
        except CallFailed:  # a version that is gone meanwhile, or callers that must be known
            return ServerHealth(status)
    return ServerHealth(status, dict(zip(names, serving, strict=True)))
