"""The class of every RPC: what it costs and what it may reveal or change, as far as admission is concerned."""

from __future__ import annotations

from typing import Literal

RpcClass = Literal["infer", "read", "admin"]

RPC_CLASSES: dict[str, RpcClass] = {
    "/detector.v1.DetectorService/Detect": "infer",
    "/detector.v1.DetectorService/StreamDetect": "infer",
    "/detector.v1.DetectorService/Predict": "infer",
    "/detector.v1.DetectorService/Annotate": "infer",
    "/detector.v1.ModelService/ListModels": "read",
    "/detector.v1.ModelService/GetModel": "read",
    "/detector.v1.ModelAdminService/LoadModelVersion": "admin",
    "/detector.v1.ModelAdminService/UnloadModelVersion": "admin",
    "/detector.v1.DriftService/GetDriftStatus": "read",
    "/detector.v1.DriftService/GetDriftReport": "read",
    "/detector.v1.DriftService/ListReferences": "read",
    "/detector.v1.DriftService/UpdateReference": "admin",
    "/detector.v1.DriftIngestService/Observe": "infer",
    "/grpc.health.v1.Health/Check": "read",
    "/grpc.health.v1.Health/List": "read",
    "/grpc.health.v1.Health/Watch": "read",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "read",
}

# Probes of Kubernetes and Envoy cannot carry credentials.
OPEN = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})


def rpc_class(method: str) -> RpcClass:
    """The class of a method by its full name; what is not listed is for administrators only."""
    return RPC_CLASSES.get(method, "admin")
