"""The composition root of `up`: settings become processes, which run until a signal, and stop in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import sys
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from detector_grpc.configured import gateway_plan
from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.admin import Admin
from detector_grpc.gateway.envoy import envoy_binary
from detector_grpc.gateway.state import State
from detector_grpc.gateway.supervision.child import Child, Program
from detector_grpc.gateway.supervision.output import NamedOutput
from detector_grpc.json_log import JsonLog
from detector_grpc.serving.cpu import cpu_limit
from detector_grpc.serving.session import GPU_PROVIDERS
from detector_grpc.setting_sections.base import LOOPBACK
from detector_grpc.settings import address, environment
from detector_grpc.stopping import Stopping
from detector_grpc.up.folder import own_folder
from detector_grpc.up.own_settings import check, settings_of_each, starts_drift
from detector_grpc.up.readiness import until_gateway_ready, until_servers_ready

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
    from pathlib import Path

    from detector_grpc.settings import Settings

log = logging.getLogger(__name__)

# `-P` keeps the working folder, in which anything may lie, off the path of Python.
COMMAND = (sys.executable, "-P", "-m", "detector_grpc")

# By which servers are told of the secret that lets streams move between them.
RESUME_KEY_VARIABLE = "DETECTOR_STREAMS_RESUME_KEY_FILE"

# By which servers are told of the process that runs their models on GPUs.
ENGINE_VARIABLE = "DETECTOR_RUNTIME_ENGINE"

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
        gateway = _gateway(settings, envoy, output) if envoy is not None else None
        telling = _tell(settings, gateway, partial(on_ready, folder=folder))
        await _run(settings, stopping, [*engines, *watchers], servers, gateway, telling)
    stopping.raise_failure()


async def _run(
    settings: Settings,
    stopping: Stopping,
    helpers: list[Child],
    servers: list[Child],
    gateway: Gateway | None,
    telling: Coroutine[None, None, None],
) -> None:
    """Keeps all running until they are to stop, and stops them."""
    children = [*helpers, *servers, *([gateway.pages, gateway.envoy] if gateway else [])]
    running = [asyncio.create_task(child.run()) for child in children]
    told = asyncio.create_task(telling)
    for task in (*running, told):
        task.add_done_callback(stopping.fail)
    await stopping.begun.wait()
    log.info("stopping")
    told.cancel()
    in_order = asyncio.create_task(_stop(settings, stopping, helpers, servers, gateway))
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


def _gateway(settings: Settings, envoy: Path, output: NamedOutput) -> Gateway:
    state, plan = State(settings.gateway.folder), gateway_plan(settings)

    def prepare() -> None:
        state.prepare(plan)
        state.forget_envoy()

    prepare()
    command = (str(envoy), *state.envoy_arguments(), "--concurrency", str(cpu_limit()))
    pages = Program("pages", (*COMMAND, "gateway", "serve"), environment(settings))
    return Gateway(
        Child(pages, output),
        Child(Program("envoy", command, mend=prepare), output),
        Admin(address(LOOPBACK, settings.gateway.admin_port)),
    )


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
    await asyncio.gather(*(child.stop(MARGIN_S, signal.SIGTERM) for child in helpers))
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
