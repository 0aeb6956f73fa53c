"""What of all servers is ready."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

# A server that does not answer for longer is as good as none to somebody who waits.
PROBE_TIMEOUT_S = 2.0


class ServerStatus(StrEnum):
    """Whether a server process answers calls."""

    SERVING = "SERVING"
    NOT_SERVING = "NOT_SERVING"
    UNREACHABLE = "UNREACHABLE"


@dataclass(frozen=True)
class ServerHealth:
    """What one server process says.

    Attributes:
        status: Of the whole process.
        versions: Whether each version that it holds is ready, by model and version. Empty where it does not say.
    """

    status: ServerStatus
    versions: Mapping[tuple[str, str], bool] = field(default_factory=dict)


@dataclass(frozen=True)
class HealthReport:
    """What all servers say.

    Attributes:
        servers: By address, "host:port".
    """

    servers: Mapping[str, ServerHealth]

    @property
    def is_ready(self) -> bool:
        """Whether anything can answer. A process with a version that still loads is not SERVING as a whole."""
        return any(
            server.status is ServerStatus.SERVING or any(server.versions.values()) for server in self.servers.values()
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        names = sorted({name for server in self.servers.values() for name in server.versions})
        ready = {name: sum(server.versions.get(name, False) for server in self.servers.values()) for name in names}
        return {
            "status": str(ServerStatus.SERVING if self.is_ready else ServerStatus.NOT_SERVING),
            "versions": [
                {"model": model, "version": version, "ready": count > 0, "ready_servers": count}
                for (model, version), count in ready.items()
            ],
            "servers": [{"address": address, "status": str(server.status)} for address, server in self.servers.items()],
        }


async def ask_all(addresses: Sequence[str], probe: Callable[[str], Awaitable[ServerHealth]]) -> HealthReport:
    """Asks all servers at once, each for PROBE_TIMEOUT_S at most.

    Args:
        addresses: "host:port" of each server.
        probe: Asks one.
    """

    async def ask(address: str) -> ServerHealth:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                return await probe(address)
        except TimeoutError:
            return ServerHealth(ServerStatus.UNREACHABLE)

    answers = await asyncio.gather(*(ask(address) for address in addresses))
    return HealthReport(dict(zip(addresses, answers, strict=True)))
