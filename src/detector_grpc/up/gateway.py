"""What stands before the servers: Envoy and the process of the pages, started, kept running, and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector_grpc.configured import gateway_plan
from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.admin import Admin
from detector_grpc.gateway.following import Following
from detector_grpc.gateway.state import State
from detector_grpc.gateway.supervision.child import Child, Program
from detector_grpc.serving.cpu import cpu_limit
from detector_grpc.setting_sections.base import LOOPBACK
from detector_grpc.settings import address, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from detector_grpc.gateway.supervision.output import NamedOutput
    from detector_grpc.settings import Settings
    from detector_grpc.stopping import Stopping

log = logging.getLogger(__name__)

# `-P` keeps the working folder, in which anything may lie, off the path of Python.
COMMAND = (sys.executable, "-P", "-m", "detector_grpc")

# What a process may take to end beyond the time that the settings give it.
MARGIN_S = 5.0

# What callers get to leave Envoy before what is behind it stops; those that make no calls stay.
LEAVE_S = 1.0
POLL_S = 0.05


@dataclass(frozen=True)
class Gateway:
    """What stands before the servers.

    Attributes:
        pages: The process that serves the page, the docs, health and metrics.
        envoy: Envoy.
        admin: Envoy's own interface.
        following: Shares the traffic as a file of others says; None where there is none.
    """

    pages: Child
    envoy: Child
    admin: Admin
    following: Following | None

    @property
    def children(self) -> list[Child]:
        """Both processes."""
        return [self.pages, self.envoy]

    def beside(self) -> list[Coroutine[None, None, None]]:
        """What is done while they run."""
        return [self.following.run()] if self.following is not None else []

    async def leave(self, stopping: Stopping, drain_wait_s: float) -> None:
        """Says that it stops, and takes no more connections once balancers have had the time to see it."""
        for child in self.children:
            child.retire()
        with tolerance():
            await asyncio.to_thread(self.admin.fail_health_check)
        await stopping.wait_for_balancers(drain_wait_s)
        with tolerance():
            await asyncio.to_thread(self.admin.stop_listening)
            await until_none(self.admin.connections, LEAVE_S)

    async def stop(self, grace_s: float) -> None:
        """Ends both processes."""
        await self.pages.stop(grace_s + MARGIN_S, signal.SIGTERM)
        await self.envoy.stop(MARGIN_S, signal.SIGTERM)


def gateway_of(settings: Settings, envoy: Path, output: NamedOutput) -> Gateway:
    """The gateway that the settings ask for, with its files written.

    Raises:
        SetupInvalid: Files cannot be written, or the one to be followed says nothing that can be done.
    """
    own = settings.gateway
    state, plan = State(own.folder), gateway_plan(settings)
    following = Following(state, own.traffic_file) if own.traffic_file else None

    def prepare() -> None:
        state.prepare(plan)
        state.forget_envoy()

    prepare()
    if following is not None:
        following.take()
    command = (str(envoy), *state.envoy_arguments(), "--concurrency", str(cpu_limit()))
    pages = Program("pages", (*COMMAND, "gateway", "serve"), environment(settings))
    return Gateway(
        Child(pages, output),
        Child(Program("envoy", command, mend=prepare), output),
        Admin(address(LOOPBACK, own.admin_port)),
        following,
    )


async def until_none(count: Callable[[], int], within_s: float) -> None:
    """Waits until there are none of what Envoy counts, for so long at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while await asyncio.to_thread(count):  # noqa: ASYNC110 - what others do sets no event
                await asyncio.sleep(POLL_S)


@contextlib.contextmanager
def tolerance() -> Iterator[None]:
    """Envoy may have crashed, and not be there to be told anything."""
    try:
        yield
    except SetupInvalid as error:
        log.warning("%s", error.message)
