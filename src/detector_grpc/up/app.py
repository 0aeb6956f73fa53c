"""The composition root of `up`: settings become processes, which run until a signal, and stop in order."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import sys
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.envoy import envoy_binary
from detector_grpc.gateway.supervision.child import Child, Program
from detector_grpc.gateway.supervision.output import NamedOutput
from detector_grpc.json_log import JsonLog
from detector_grpc.serving.session import GPU_PROVIDERS
from detector_grpc.settings import environment
from detector_grpc.stopping import Stopping
from detector_grpc.up.folder import own_folder
from detector_grpc.up.gateway import COMMAND, MARGIN_S, gateway_of
from detector_grpc.up.own_settings import check, settings_of_each, starts_drift
from detector_grpc.up.readiness import until_gateway_ready, until_servers_ready
from detector_grpc.up.running import run_until_stopped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from detector_grpc.settings import Settings
    from detector_grpc.up.gateway import Gateway

log = logging.getLogger(__name__)

# By which servers are told of the secret that lets streams move between them.
RESUME_KEY_VARIABLE = "DETECTOR_STREAMS_RESUME_KEY_FILE"

# By which servers are told of the process that runs their models on GPUs.
ENGINE_VARIABLE = "DETECTOR_RUNTIME_ENGINE"

# What whoever reads the log may take for its last lines.
LAST_LINES_S = 2.0


@dataclass(frozen=True)
class Places:
    """Where what runs is reached, `host:port` each.

    Attributes:
        servers: gRPC of every server process.
        metrics: Prometheus of every server process.
        gateway: gRPC, REST and pages for this machine, without encryption; None where there is no Envoy.
        url: Root of the gateway for clients, or None.
    """

    servers: tuple[str, ...]
    metrics: tuple[str, ...]
    gateway: str | None
    url: str | None


class OnReady(Protocol):
    """What is done when all is ready."""

    async def __call__(self, places: Places, *, folder: Path) -> None:
        """Given where all is reached, and a folder for files that go when all has stopped."""


def run(settings: Settings, on_ready: OnReady, *, coloured: bool) -> None:
    """Serves until SIGTERM, SIGHUP or SIGINT, and stops all in order; at a second signal at once.

    Args:
        settings: All settings.
        on_ready: Awaited once, when every version has settled and Envoy has seen what there is.
        coloured: Whether names in the log are.

    Raises:
        SetupInvalid: Something cannot start.
    """
    check(settings)
    output = NamedOutput(sys.stderr.fileno(), coloured=coloured)
    JsonLog(output.writer("up")).use(settings.log_level)
    try:
        asyncio.run(_up(settings, output, on_ready))
    finally:
        output.close(LAST_LINES_S)


async def _up(settings: Settings, output: NamedOutput, on_ready: OnReady) -> None:
    stopping = Stopping()
    envoy = _envoy()
    has_drift = starts_drift(settings)
    settings, each = settings_of_each(settings, has_gateway=envoy is not None)
    with own_folder(settings.gateway.folder) as folder:
        key, write_key = _resume_key(settings, folder)
        write_key()
        secret = {RESUME_KEY_VARIABLE: str(key)}
        shared, engines = _engine(settings, folder, output)
        watchers = [Child(Program("drift", (*COMMAND, "drift", "serve"), environment(settings)), output)] * has_drift
        servers = [
            Child(
                Program(f"server-{number}", (*COMMAND, "serve"), environment(own) | secret | shared, write_key), output
            )
            for number, own in enumerate(each)
        ]
        gateway = gateway_of(settings, envoy, output) if envoy is not None else None
        telling = _tell(settings, gateway, partial(on_ready, folder=folder))
        helpers = [*engines, *watchers]
        children = [*helpers, *servers, *(gateway.children if gateway else [])]
        beside = [telling, *(gateway.beside() if gateway else [])]
        await run_until_stopped(stopping, children, beside, _stop(settings, stopping, helpers, servers, gateway))
    stopping.raise_failure()


def _envoy() -> Path | None:
    try:
        return envoy_binary()
    except SetupInvalid as error:
        log.warning("there is no gateway, only gRPC: %s", error.message)
        return None


def _engine(settings: Settings, folder: Path, output: NamedOutput) -> tuple[dict[str, str], list[Child]]:
    """The engine process, where several servers share GPUs, and how they are told of it."""
    if settings.workers == 1 or settings.runtime.provider not in GPU_PROVIDERS or settings.runtime.engine is not None:
        return {}, []
    shared = {ENGINE_VARIABLE: str(folder / "engine")}
    make_folder = partial(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
    program = Program("engine", (*COMMAND, "engine"), environment(settings) | shared, make_folder)
    return shared, [Child(program, output)]


def _resume_key(settings: Settings, folder: Path) -> tuple[Path, Callable[[], None]]:
    """The file of the secret that lets streams move between the servers, and what writes it, where nobody else has."""
    if settings.streams.resume_key_file is not None:
        return settings.streams.resume_key_file, lambda: None
    file, secret = folder / "resume-key", secrets.token_hex(32)

    def write() -> None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(secret, encoding="ascii")

    return file, write


async def _tell(settings: Settings, gateway: Gateway | None, on_ready: Callable[[Places], Awaitable[None]]) -> None:
    """Waits until all are ready, and says so."""
    own = settings.gateway
    await until_servers_ready(own.servers)
    if gateway is not None:
        await until_gateway_ready(gateway.admin, own.http_port)
    before = (settings.gateway_address, settings.gateway_url) if gateway is not None else (None, None)
    places = Places(own.servers, own.server_metrics, *before)
    log.info("ready", extra=asdict(places))
    await on_ready(places)


async def _stop(
    settings: Settings, stopping: Stopping, helpers: list[Child], servers: list[Child], gateway: Gateway | None
) -> None:
    """Stops all, those first who give work to others."""
    server = settings.server
    for child in (*helpers, *servers):
        child.retire()
    if gateway is not None:
        await gateway.leave(stopping, server.drain_wait_s)
    # The second signal tells a server that no balancer has to see first that it stops.
    hurried = gateway is not None or stopping.is_hurried
    signals = (signal.SIGTERM, signal.SIGINT) if hurried else (signal.SIGTERM,)
    drain_s = server.grace_s + (0 if hurried else server.drain_wait_s)
    await asyncio.gather(*(child.stop(drain_s + MARGIN_S, *signals) for child in servers))
    await asyncio.gather(*(child.stop(MARGIN_S, signal.SIGTERM) for child in helpers))
    if gateway is not None:
        await gateway.stop(server.grace_s)
