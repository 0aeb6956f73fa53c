"""How the commands reach the process that watches."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from detector_grpc import settings
from detector_grpc.cli.connection import Connection, connected_to
from detector_grpc.client.drift import Drift

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# What starts the process that watches.
STARTER = "drift serve"

# An option for its address; to be called with the names of the option.
address_option = partial(
    click.option,
    default=lambda: f"localhost:{settings.load().drift.port}",
    show_default="DETECTOR_DRIFT_PORT of this machine",
    envvar="DETECTOR_DRIFT_TARGET",
    show_envvar=True,
    metavar="HOST:PORT",
    help=f"Process of `{STARTER}`, or the gateway before it.",
)


def connected_to_drift(command: Callable[..., None]) -> Callable[..., None]:
    """As cli.connection.connected, but by default to the process that watches."""
    return connected_to(address_option("--address"), command, STARTER)


def ask(connection: Connection, question: Callable[[Drift], Awaitable[Any]]) -> Any:  # noqa: ANN401  whatever it is
    """The answer; raises CallFailed."""

    async def run() -> Any:  # noqa: ANN401
        async with Drift(connection.address, token=connection.token, tls=connection.tls) as drift:
            return await question(drift)

    return asyncio.run(run())
