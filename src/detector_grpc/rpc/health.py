"""grpc.health.v1: what is serving, by service name.

Names: "" for the process, the full name of each service, `models/<model>/versions/<version>` while it is held, and
"alive", which says nothing of models.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1.health import aio
from grpc_health.v1.health_pb2 import HealthCheckResponse

from detector_grpc.errors import ShuttingDown
from detector_grpc.serving.registry import ModelState

if TYPE_CHECKING:
    from detector_grpc.serving.registry import Registry

WHOLE_PROCESS = ""

# SERVING as long as calls are answered at all, for those who would start a process again that does not.
ALIVE = "alive"


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
        self._version_names: set[str] = set()
        self._updating = asyncio.Lock()  # what the last update tells is the last that is told

    async def update(self, registry: Registry) -> None:
        """Tells the state of every version and of the process.

        The process is SERVING while a version is READY, from the moment that every version of the start has settled.
        A version that is no longer held is as unknown as one that never was.
        """
        async with self._updating:
            serving = {
                f"models/{version.model}/versions/{version.version}": version.state is ModelState.READY
                for version in registry.versions()
            }
            for name in self._version_names - serving.keys():
                await self.servicer.set(name, HealthCheckResponse.SERVICE_UNKNOWN)
            self._version_names = set(serving)
            serving = {ALIVE: True, **serving, **dict.fromkeys(self._process_names, registry.serving)}
            for name, is_serving in serving.items():
                status = HealthCheckResponse.SERVING if is_serving else HealthCheckResponse.NOT_SERVING
                await self.servicer.set(name, status)

    async def drain(self) -> None:
        """Says NOT_SERVING to every name, for good."""
        await self.servicer.enter_graceful_shutdown()

    def end_watches(self) -> None:
        """Ends all watches, for which a server that stops would wait as for any call."""
        self.servicer.end_watches()


class _Servicer(aio.HealthServicer):  # type: ignore[misc]  # ships no types
    """The servicer that comes with gRPC, with watches that can be ended and names that can be unknown again."""

    def __init__(self) -> None:
        super().__init__()
        self._watches: set[asyncio.Timeout] = set()

    async def Check(self, request: Any, context: Any) -> HealthCheckResponse:  # noqa: ANN401, N802
        """See grpc.health.v1."""
        answer = await super().Check(request, context)
        if answer.status == HealthCheckResponse.SERVICE_UNKNOWN:  # for watches only
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return answer

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
