"""The gRPC server of the drift process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_NAME
from grpc_health.v1.health import aio
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_reflection.v1alpha.reflection import SERVICE_NAME as REFLECTION_NAME
from grpc_reflection.v1alpha.reflection import enable_server_reflection

from detector_grpc._gen.detector.v1 import drift_service_pb2
from detector_grpc._gen.detector.v1.drift_service_pb2_grpc import (
    add_DriftIngestServiceServicer_to_server,
    add_DriftServiceServicer_to_server,
)
from detector_grpc.rpc import transport
from detector_grpc.rpc.drift_service import DriftIngestService, DriftService
from detector_grpc.rpc.health import WHOLE_PROCESS
from detector_grpc.rpc.lasting import LastingServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc.aio

    from detector_grpc.drift.reports import Reports
    from detector_grpc.drift.station import Station

SERVICES = [service.full_name for service in drift_service_pb2.DESCRIPTOR.services_by_name.values()]

# The reference of a day has about 4 MiB.
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
_MAX_CONNECTION_STREAMS = 16
# A batch is taken in within milliseconds, so there are never as many unless somebody floods this process.
_MAX_CALLS = 100


class DriftServer(LastingServer):
    """A gRPC server that answers from a station, and takes observations in.

    Args:
        station: What watches.
        reports: Pages that show it.
        interceptors: Outermost first.
        reflection: Whether tools may ask for the contract.
    """

    def __init__(
        self,
        station: Station,
        reports: Reports,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        *,
        reflection: bool,
    ) -> None:
        self._health = aio.HealthServicer()

        def make() -> grpc.aio.Server:
            server = transport.aio_server(interceptors, MAX_MESSAGE_BYTES, _MAX_CONNECTION_STREAMS, _MAX_CALLS)
            add_DriftServiceServicer_to_server(DriftService(station, reports), server)
            add_DriftIngestServiceServicer_to_server(DriftIngestService(station), server)
            health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
            if reflection:
                enable_server_reflection([*SERVICES, HEALTH_NAME, REFLECTION_NAME], server)
            return server

        super().__init__(make, "DETECTOR_DRIFT_PORT")

    async def start(self) -> None:
        """Begins to answer."""
        for name in (WHOLE_PROCESS, *SERVICES):
            await self._health.set(name, HealthCheckResponse.SERVING)
        await super().start()

    async def stop(self, grace_s: float) -> None:
        """Takes no new calls, and waits at most `grace_s` seconds for those in progress."""
        await self._health.enter_graceful_shutdown()
        await super().stop(grace_s)
