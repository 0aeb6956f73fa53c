"""The two servers of one process: their services behind their interceptors, bound to an address."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH_NAME
from grpc_reflection.v1alpha.reflection import SERVICE_NAME as REFLECTION_NAME
from grpc_reflection.v1alpha.reflection import enable_server_reflection

from detector_grpc._gen.detector.v1 import detector_service_pb2, model_admin_service_pb2, model_service_pb2
from detector_grpc._gen.detector.v1.detector_service_pb2_grpc import add_DetectorServiceServicer_to_server
from detector_grpc._gen.detector.v1.model_admin_service_pb2_grpc import add_ModelAdminServiceServicer_to_server
from detector_grpc._gen.detector.v1.model_service_pb2_grpc import add_ModelServiceServicer_to_server
from detector_grpc.rpc import transport
from detector_grpc.rpc.health import Health
from detector_grpc.rpc.lasting import LastingServer
from detector_grpc.rpc.model_admin_service import ModelAdminService
from detector_grpc.rpc.model_service import ModelService

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc.aio

    from detector_grpc.rpc.detector_service import DetectorService
    from detector_grpc.serving.loader import Loader
    from detector_grpc.serving.registry import Registry

SERVICES = [
    detector_service_pb2.DESCRIPTOR.services_by_name["DetectorService"].full_name,
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
]


ADMIN_SERVICES = [model_admin_service_pb2.DESCRIPTOR.services_by_name["ModelAdminService"].full_name]

MAX_ORDERS = 16

# An order that is given up is answered at once; what else is there, e.g. a tool that reads the contract, can be cut.
ADMIN_GRACE_S = 1.0


class DetectorServer(LastingServer):
    """A gRPC server that answers from a registry.

    Args:
        registry: The versions.
        detector: Answers detection calls.
        interceptors: Outermost first.
        max_message_bytes: Largest request.
        max_connection_streams: Most calls at once on one connection.
        reflection: Whether tools may ask for the contract.
    """

    def __init__(
        self,
        registry: Registry,
        detector: DetectorService,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        max_message_bytes: int,
        max_connection_streams: int,
        *,
        reflection: bool,
    ) -> None:
        self._registry = registry
        self._detector = detector
        self._health = Health(SERVICES)

        def make() -> grpc.aio.Server:
            server = transport.aio_server(interceptors, max_message_bytes, max_connection_streams)
            add_DetectorServiceServicer_to_server(detector, server)
            add_ModelServiceServicer_to_server(ModelService(registry), server)
            health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, server)
            if reflection:
                enable_server_reflection([*SERVICES, HEALTH_NAME, REFLECTION_NAME], server)
            return server

        super().__init__(make, "DETECTOR_SERVER_PORT")

    async def start(self) -> None:
        """Begins to answer, NOT_SERVING at first."""
        await self.update_health()
        await super().start()

    async def update_health(self) -> None:
        """Tells health watchers what the registry holds now."""
        await self._health.update(self._registry)

    async def announce_stop(self) -> None:
        """Says NOT_SERVING, so that nobody sends new calls; goes on answering."""
        await self._health.drain()

    async def stop(self, grace_s: float) -> None:
        """Takes no new calls, and waits at most `grace_s` seconds for those in progress."""
        self._detector.drain_streams()
        stopping = asyncio.ensure_future(super().stop(grace_s))
        await asyncio.sleep(0)  # new calls are refused from here on, so nobody begins another watch
        self._health.end_watches()
        await stopping


class AdminServer(LastingServer):
    """A gRPC server that takes orders for a loader.

    Args:
        registry: The versions.
        loader: What changes them.
        interceptors: Outermost first.
        max_message_bytes: Largest order.
        reflection: Whether tools may ask for the contract.
    """

    def __init__(
        self,
        registry: Registry,
        loader: Loader,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        max_message_bytes: int,
        *,
        reflection: bool,
    ) -> None:
        self._loader = loader

        def make() -> grpc.aio.Server:
            server = transport.aio_server(interceptors, max_message_bytes, MAX_ORDERS)
            add_ModelAdminServiceServicer_to_server(ModelAdminService(registry, loader), server)
            if reflection:
                enable_server_reflection([*ADMIN_SERVICES, REFLECTION_NAME], server)
            return server

        super().__init__(make, "DETECTOR_SERVER_ADMIN_PORT")

    async def stop(self, grace_s: float = ADMIN_GRACE_S) -> None:
        """Takes no more orders, and tells those who wait for one that it is given up."""
        self._loader.close()
        await super().stop(grace_s)
