"""How the commands reach the process that watches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from detector_grpc.cli.connection import Connection, connected_to
from detector_grpc.client.drift import Drift

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_ADDRESS = click.option(
    "--address",
    default="localhost:50040",
    show_default=True,
    envvar="DETECTOR_DRIFT_TARGET",
    show_envvar=True,
    metavar="HOST:PORT",
    help="Process of `drift serve`, or the gateway before it.",
)


def connected_to_drift(command: Callable[..., None]) -> Callable[..., None]:
    """As cli.connection.connected, but by default to the process that watches."""
    return connected_to(_ADDRESS, command)


def ask(connection: Connection, question: Callable[[Drift], Awaitable[Any]]) -> Any:  # noqa: ANN401  whatever it is
    """The answer; raises CallFailed."""

    async def run() -> Any:  # noqa: ANN401
        async with Drift(connection.address, token=connection.token, tls=connection.tls) as drift:
            return await question(drift)

    return asyncio.run(run())
