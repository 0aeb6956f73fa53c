"""grpc.health.v1: what is serving, by service name.

Names: "" for the process, the full name of each service, and `models/<model>/versions/<version>`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from grpc_health.v1.health import aio
from grpc_health.v1.health_pb2 import HealthCheckResponse

from detector_grpc.errors import ShuttingDown
from detector_grpc.serving.registry import ModelState

if TYPE_CHECKING:
    from detector_grpc.serving.registry import Registry

WHOLE_PROCESS = ""


class Health:
    """Keeps a health servicer in step with a registry.

    Args:
        services: Full names of the services that need a model; SERVING together with the process.

    Attributes:
        servicer: To be added to the server.
    """

    def __init__(self, services: list[str]) -> None:
        self.servicer = _Servicer()
        self._process_names = [WHOLE_PROCESS, *services]

    async def update(self, registry: Registry) -> None:
        """Tells the state of every version and of the process.

        The process is SERVING from the moment that every version has settled, at least one of them READY.
        """
        for version in registry.versions():
            name = f"models/{version.model}/versions/{version.version}"
            await self._set(name, serving=version.state is ModelState.READY)
        for name in self._process_names:
            await self._set(name, serving=registry.settled)

    async def drain(self) -> None:
        """Says NOT_SERVING to every name, for good."""
        await self.servicer.enter_graceful_shutdown()

    def end_watches(self) -> None:
        """Ends all watches, for which a server that stops would wait as for any call."""
        self.servicer.end_watches()

    async def _set(self, name: str, *, serving: bool) -> None:
        status = HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
        await self.servicer.set(name, status)


class _Servicer(aio.HealthServicer):  # type: ignore[misc]  # ships no types
    """The servicer that comes with gRPC, with watches that can be ended."""

    def __init__(self) -> None:
        super().__init__()
        self._watches: set[asyncio.Timeout] = set()

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: ANN401, N802
        """See grpc.health.v1."""
        watch = asyncio.timeout(None)
        self._watches.add(watch)
        try:
            async with watch:
                await super().Watch(request, context)
        except TimeoutError:
            raise ShuttingDown from None
        finally:
            self._watches.discard(watch)

    def end_watches(self) -> None:
        for watch in self._watches:
            watch.reschedule(asyncio.get_running_loop().time())
