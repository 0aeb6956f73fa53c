"""ModelAdminService: orders to the loader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector_grpc._gen.detector.v1.model_admin_service_pb2 import LoadModelVersionResponse, UnloadModelVersionResponse
from detector_grpc._gen.detector.v1.model_admin_service_pb2_grpc import ModelAdminServiceServicer
from detector_grpc.rpc.convert import model_version
from detector_grpc.serving.outcome import CURRENT_CALL

if TYPE_CHECKING:
    import grpc.aio

    from detector_grpc._gen.detector.v1.model_admin_service_pb2 import (
        LoadModelVersionRequest,
        UnloadModelVersionRequest,
    )
    from detector_grpc.serving.loader import Loader
    from detector_grpc.serving.registry import Registry


class ModelAdminService(ModelAdminServiceServicer):
    """Loads and frees the versions of a registry."""

    def __init__(self, registry: Registry, loader: Loader) -> None:
        self._registry = registry
        self._loader = loader

    async def LoadModelVersion(  # noqa: N802
        self,
        request: LoadModelVersionRequest,
        context: grpc.aio.ServicerContext[LoadModelVersionRequest, LoadModelVersionResponse],  # noqa: ARG002
    ) -> LoadModelVersionResponse:
        """See the contract."""
        version = await self._loader.load(request.model, request.version)
        _name_call(request)
        return LoadModelVersionResponse(
            version=model_version(version), is_default=self._registry.is_default(version.model, version.version)
        )

    async def UnloadModelVersion(  # noqa: N802
        self,
        request: UnloadModelVersionRequest,
        context: grpc.aio.ServicerContext[UnloadModelVersionRequest, UnloadModelVersionResponse],  # noqa: ARG002
    ) -> UnloadModelVersionResponse:
        """See the contract."""
        await self._loader.unload(request.model, request.version)
        _name_call(request)
        return UnloadModelVersionResponse(was_default=self._registry.is_default(request.model, request.version))


def _name_call(request: LoadModelVersionRequest | UnloadModelVersionRequest) -> None:
    """Lets the log have the names, which are known to be names by now."""
    call = CURRENT_CALL.get()
    call.model, call.version = request.model, request.version
