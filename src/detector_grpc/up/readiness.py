"""When all that was started can be used."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING

from detector_grpc.client import AsyncDetector, CallFailed
from detector_grpc.errors import SetupInvalid
from detector_grpc.setting_sections.base import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from detector_grpc.gateway.admin import Admin

log = logging.getLogger(__name__)

# Envoy asks each server every second; a version that cannot be served never becomes healthy.
SEEN_S = 5.0

POLL_S = 0.1

# Seconds after which whoever has started all wants to know what is waited for.
PATIENCE_S = 30.0


async def until_servers_ready(servers: Sequence[str]) -> None:
    """Waits until every version has settled and one is ready, in each server at `host:port`; if long, says so."""
    said = "still waiting for the servers: in each a version must be ready; their lines tell of those that failed"
    late = asyncio.get_running_loop().call_later(PATIENCE_S, log.warning, said)
    try:
        for server in servers:
            await _until(partial(_is_serving, server))
    finally:
        late.cancel()


async def until_gateway_listens(envoy: Admin, http_port: int) -> None:
    """Waits until the pages are served and Envoy takes calls; it has asked each server for its health by then."""
    await _until(partial(_listens, LOOPBACK, http_port))
    await _until(partial(_is_ready, envoy))


async def until_gateway_ready(envoy: Admin, http_port: int) -> None:
    """As `until_gateway_listens`, and until Envoy has found out that every server holds every version."""
    await until_gateway_listens(envoy, http_port)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SEEN_S):
            await _until(partial(_has_seen_all, envoy))


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():  # noqa: ASYNC110 - what other processes do sets no event
        await asyncio.sleep(POLL_S)


async def _is_serving(address: str) -> bool:
    """Whether a server answers; asked on a connection of its own, since one that has failed would be held back."""
    async with AsyncDetector(address) as detector:
        try:
            return await detector.health() == "SERVING"
        except CallFailed:
            return False


async def _listens(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def _is_ready(envoy: Admin) -> bool:
    try:
        return await asyncio.to_thread(envoy.is_ready)
    except SetupInvalid:  # not started yet
        return False


async def _has_seen_all(envoy: Admin) -> bool:
    """Whether Envoy takes every server for healthy, for every version."""
    try:
        stats = await asyncio.to_thread(envoy.stats, r"\.membership_(healthy|total)$")
    except SetupInvalid:  # it is being started again
        return False
    totals = {name: count for name, count in stats.items() if name.endswith("_total")}
    return all(stats[name.replace("_total", "_healthy")] == count for name, count in totals.items())
