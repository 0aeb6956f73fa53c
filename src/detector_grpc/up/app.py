"""The composition root of `up`: settings become processes, which run until a signal, and stop in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from detector_grpc.configured import gateway_plan
from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.admin import Admin
from detector_grpc.gateway.envoy import envoy_binary
from detector_grpc.gateway.state import State
from detector_grpc.gateway.supervision.child import Child, Program
from detector_grpc.gateway.supervision.output import NamedOutput
from detector_grpc.json_log import JsonLog
from detector_grpc.serving.cpu import cpu_limit
from detector_grpc.settings import LOOPBACK, address, environment
from detector_grpc.stopping import Stopping
from detector_grpc.up.own_settings import settings_of_each
from detector_grpc.up.readiness import until_gateway_ready, until_servers_ready

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from detector_grpc.settings import Settings

log = logging.getLogger(__name__)

# `-P` keeps the working folder, in which anything may lie, off the path of Python.
COMMAND = (sys.executable, "-P", "-m", "detector_grpc")

# What a process may take to end beyond the time that the settings give it.
MARGIN_S = 5.0

# What callers get to leave Envoy before the servers stop; those that make no calls stay.
LEAVE_S = 1.0
POLL_S = 0.05

# What whoever reads the log may take for its last lines.
LAST_LINES_S = 2.0


@dataclass(frozen=True)
class Places:
    """Where what runs is reached, `host:port` each.

    Attributes:
        servers: gRPC of every server process.
        metrics: Prometheus of every server process.
        gateway: gRPC, REST and pages; None where there is no Envoy.
    """

    servers: tuple[str, ...]
    metrics: tuple[str, ...]
    gateway: str | None


@dataclass(frozen=True)
class Gateway:
    """What stands before the servers.

    Attributes:
        pages: The process that serves the page, the docs, health and metrics.
        envoy: Envoy.
        admin: Envoy's own interface.
    """

    pages: Child
    envoy: Child
    admin: Admin


def run(settings: Settings, on_ready: Callable[[Places], Awaitable[None]], *, coloured: bool) -> None:
    """Serves until SIGTERM or SIGINT, and stops all in order; at a second signal at once.

    Args:
        settings: All settings.
        on_ready: Awaited once, when every version has settled and Envoy has seen what there is.
        coloured: Whether names in the log are.

    Raises:
        SetupInvalid: Something cannot start.
    """
    if settings.tls.certificate is not None:
        raise SetupInvalid(["DETECTOR_TLS_CERTIFICATE: `up` does not encrypt, `serve` does"])
    output = NamedOutput(sys.stderr.fileno(), coloured=coloured)
    JsonLog(output.writer("up")).use(settings.log_level)
    try:
        with tempfile.TemporaryDirectory(prefix="detector-grpc-") as folder:
            asyncio.run(_up(settings, Path(folder), output, on_ready))
    finally:
        output.close(LAST_LINES_S)


async def _up(
    settings: Settings, folder: Path, output: NamedOutput, on_ready: Callable[[Places], Awaitable[None]]
) -> None:
    stopping = Stopping()
    envoy = _envoy()
    settings, each = settings_of_each(settings, _resume_key(settings, folder), has_gateway=envoy is not None)
    servers = [
        Child(Program(f"server-{number}", (*COMMAND, "serve"), environment(own)), output)
        for number, own in enumerate(each)
    ]
    gateway = _gateway(settings, envoy, output) if envoy is not None else None
    children = [*servers, *([gateway.pages, gateway.envoy] if gateway else [])]
    running = [asyncio.create_task(child.run()) for child in children]
    telling = asyncio.create_task(_tell(settings, gateway, on_ready))
    for task in (*running, telling):
        task.add_done_callback(stopping.fail)
    await stopping.begun.wait()
    log.info("stopping")
    telling.cancel()
    in_order = asyncio.create_task(_stop(settings, stopping, servers, gateway))
    at_once = asyncio.create_task(stopping.repeated.wait())
    await asyncio.wait({in_order, at_once}, return_when=asyncio.FIRST_COMPLETED)
    at_once.cancel()
    if not in_order.done():
        log.warning("asked twice, so all are killed")
    for child in children:  # those that are left
        child.kill()
    await asyncio.gather(*running, return_exceptions=True)
    await in_order
    log.info("stopped")
    stopping.raise_failure()


def _envoy() -> Path | None:
    try:
        return envoy_binary()
    except SetupInvalid as error:
        log.warning("there is no gateway, only gRPC: %s", error.message)
        return None


def _resume_key(settings: Settings, folder: Path) -> Path:
    """The secret that lets streams move between the servers."""
    if settings.streams.resume_key_file is not None:
        return settings.streams.resume_key_file
    file = folder / "resume-key"  # of a folder that nobody else may look into
    file.write_text(secrets.token_hex(32), encoding="ascii")
    return file


def _gateway(settings: Settings, envoy: Path, output: NamedOutput) -> Gateway:
    state = State(settings.gateway.folder)
    state.prepare(gateway_plan(settings))
    state.forget_envoy()
    command = (str(envoy), *state.envoy_arguments(), "--concurrency", str(cpu_limit()))
    pages = Program("pages", (*COMMAND, "gateway", "serve"), environment(settings))
    return Gateway(
        Child(pages, output),
        Child(Program("envoy", command), output),
        Admin(address(LOOPBACK, settings.gateway.admin_port)),
    )


async def _tell(settings: Settings, gateway: Gateway | None, on_ready: Callable[[Places], Awaitable[None]]) -> None:
    """Waits until all are ready, and says so."""
    own = settings.gateway
    await until_servers_ready(own.servers)
    if gateway is not None:
        await until_gateway_ready(gateway.admin, own.http_port)
    places = Places(own.servers, own.server_metrics, None if gateway is None else settings.gateway_address)
    log.info("ready", extra=asdict(places))
    await on_ready(places)


async def _stop(settings: Settings, stopping: Stopping, servers: list[Child], gateway: Gateway | None) -> None:
    """Stops all, those first who give work to others."""
    server = settings.server
    for child in servers:
        child.retire()
    if gateway is not None:
        gateway.pages.retire()
        gateway.envoy.retire()
        with _tolerance():
            await asyncio.to_thread(gateway.admin.fail_health_check)
        await stopping.wait_for_balancers(server.drain_wait_s)
        with _tolerance():
            await asyncio.to_thread(gateway.admin.stop_listening)
            await _until_left(gateway.admin)
    # The second signal tells a server that no balancer has to see first that it stops.
    hurried = gateway is not None or stopping.is_hurried
    signals = (signal.SIGTERM, signal.SIGINT) if hurried else (signal.SIGTERM,)
    drain_s = server.grace_s + (0 if hurried else server.drain_wait_s)
    await asyncio.gather(*(child.stop(drain_s + MARGIN_S, *signals) for child in servers))
    if gateway is not None:
        await gateway.pages.stop(server.grace_s + MARGIN_S, signal.SIGTERM)
        await gateway.envoy.stop(MARGIN_S, signal.SIGTERM)


async def _until_left(envoy: Admin) -> None:
    """Gives callers a moment to close their connections, as they are told to by their next answers."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LEAVE_S):
            while await asyncio.to_thread(envoy.connections):  # noqa: ASYNC110 - what others do sets no event
                await asyncio.sleep(POLL_S)


@contextlib.contextmanager
def _tolerance() -> Iterator[None]:
    """Envoy may have crashed, and not be there to be told anything."""
    try:
        yield
    except SetupInvalid as error:
        log.warning("%s", error.message)
