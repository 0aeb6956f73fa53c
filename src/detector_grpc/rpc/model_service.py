"""ModelService: what the registry holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector_grpc._gen.detector.v1.model_service_pb2 import GetModelResponse, ListModelsResponse
from detector_grpc._gen.detector.v1.model_service_pb2_grpc import ModelServiceServicer
from detector_grpc.rpc.convert import model_version
from detector_grpc.rpc.fields import refuse_parameters
from detector_grpc.rpc.metadata import rest_query

if TYPE_CHECKING:
    from detector_grpc._gen.detector.v1.model_service_pb2 import GetModelRequest, ListModelsRequest
    from detector_grpc.rpc.metadata import Context
    from detector_grpc.serving.registry import Registry


class ModelService(ModelServiceServicer):
    """Describes the versions of a registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def ListModels(  # noqa: N802
        self,
        request: ListModelsRequest,  # noqa: ARG002 - empty
        context: Context,
    ) -> ListModelsResponse:
        """See the contract."""
        refuse_parameters(rest_query(context))
        return ListModelsResponse(
            versions=map(model_version, self._registry.versions()),
            default_model=self._registry.default_model,
            default_version=self._registry.default_version,
        )

    async def GetModel(  # noqa: N802
        self,
        request: GetModelRequest,
        context: Context,
    ) -> GetModelResponse:
        """See the contract."""
        refuse_parameters(rest_query(context))
        return GetModelResponse(version=model_version(self._registry.find(request.model, request.version)))
