"""Observations, sent to the process that watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector_grpc import headers
from detector_grpc._gen.detector.v1.drift_service_pb2_grpc import DriftIngestServiceStub
from detector_grpc.rpc.drift_convert import observe_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc.aio

    from detector_grpc.drift.observation import Observation, Watched

# A batch is taken in within milliseconds; who takes longer is ill.
_TIMEOUT_S = 5.0


class DriftSender:
    """Sends batches.

    Args:
        channel: To the process that watches; closed with this.
        token: Bearer token; None for none.
    """

    def __init__(self, channel: grpc.aio.Channel, token: str | None) -> None:
        self._channel = channel
        self._stub = DriftIngestServiceStub(channel)
        self._credentials = ((headers.AUTHORIZATION, f"Bearer {token}"),) if token else ()

    async def send(self, watched: Watched, digest: str, observations: Sequence[Observation], lost: int) -> None:
        """Sends one batch; see Station.take.

        Raises:
            grpc.aio.AioRpcError: It was not taken in.
        """
        request = observe_request(watched, digest, observations, lost)
        await self._stub.Observe(request, timeout=_TIMEOUT_S, metadata=self._credentials)

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()
