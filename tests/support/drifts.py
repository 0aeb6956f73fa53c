"""The process that watches for drift, and what is told to it and asked of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

import grpc

from detector_grpc._gen.detector.v1 import drift_service_pb2 as messages
from detector_grpc._gen.detector.v1.drift_service_pb2_grpc import DriftIngestServiceStub, DriftServiceStub
from detector_grpc.drift.observation import Watched
from detector_grpc.rpc.drift_convert import observe_request
from support.servers import server_process

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from detector_grpc.drift.observation import Observation
    from support.servers import ServerProcess

DRIFT_SERVE = (sys.executable, "-m", "detector_grpc", "drift", "serve")
V1 = Watched("codes", "v1")
DIGEST = "sha256:0"


def drift_process(folder: Path, **settings: object) -> AbstractContextManager[ServerProcess]:
    """A running process that keeps what it knows in the folder."""
    defaults = {"drift_state": folder, "drift_first_observations": 800}
    return server_process(DRIFT_SERVE, **defaults | settings)


class DriftCalls:
    """Calls on a connection of its own."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.drift = DriftServiceStub(self.channel)
        self.ingest = DriftIngestServiceStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def tell(self, seen: Sequence[Observation], watched: Watched = V1, digest: str = DIGEST) -> int:
        """In batches; how many of them counted."""
        return sum(
            self.ingest.Observe(observe_request(watched, digest, batch, 0), timeout=30).taken
            for batch in _batches(seen)
        )

    def status(self) -> messages.DriftStatus:
        """Of the only version."""
        (status,) = self.drift.GetDriftStatus(messages.GetDriftStatusRequest(), timeout=30).statuses
        return status

    def update(self, **new_reference: object) -> messages.UpdateReferenceResponse:
        request = messages.UpdateReferenceRequest(model=V1.model, version=V1.version, **new_reference)
        return self.drift.UpdateReference(request, timeout=30)


def _batches(seen: Sequence[Observation]) -> Iterator[Sequence[Observation]]:
    for start in range(0, len(seen), 50):
        yield seen[start : start + 50]
