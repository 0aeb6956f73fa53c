"""ModelService: what the registry holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector_grpc._gen.detector.v1.model_service_pb2 import GetModelResponse, ListModelsResponse
from detector_grpc._gen.detector.v1.model_service_pb2_grpc import ModelServiceServicer
from detector_grpc.rpc.convert import model_version

if TYPE_CHECKING:
    import grpc.aio

    from detector_grpc._gen.detector.v1.model_service_pb2 import GetModelRequest, ListModelsRequest
    from detector_grpc.serving.registry import Registry


class ModelService(ModelServiceServicer):
    """Describes the versions of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def ListModels(  # noqa: N802
        self,
        request: ListModelsRequest,  # noqa: ARG002 - empty
        context: grpc.aio.ServicerContext[ListModelsRequest, ListModelsResponse],  # noqa: ARG002
    ) -> ListModelsResponse:
        """See the contract."""
        return ListModelsResponse(
            versions=map(model_version, self._registry.versions()),
            default_model=self._registry.default_model,
            default_version=self._registry.default_version,
        )

    async def GetModel(  # noqa: N802
        self,
        request: GetModelRequest,
        context: grpc.aio.ServicerContext[GetModelRequest, GetModelResponse],  # noqa: ARG002
    ) -> GetModelResponse:
        """See the contract."""
        return GetModelResponse(version=model_version(self._registry.find(request.model, request.version)))
