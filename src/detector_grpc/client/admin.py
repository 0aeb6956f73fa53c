"""Orders to one server process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detector_grpc.client.aio import make
from detector_grpc.client.calls import Calls, call_timeout_s
from detector_grpc.rpc import transport

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from detector_grpc.client.models import ModelVersion


class ModelAdmin:
    """Changes which versions a server process holds. For asyncio, as AsyncDetector; every method raises CallFailed."""

    def __init__(
        self,
        target: str,
        *,
        token: str | None = None,
        tls: transport.TlsFiles | None = None,
        timeout_s: float | None = 600.0,
    ) -> None:
        """Opens no connection yet; the first order does.

        Args:
            target: "host:port" of the process's admin port.
            token: Bearer token.
            tls: Certificates; `TlsFiles()` for TLS with the usual authorities, None for no TLS.
            timeout_s: Longest to wait for one order, in seconds, more than 0; the process goes on with it all the
                same. None: no limit.

        Raises:
            SetupInvalid: A TLS file cannot be read.
            ValueError: No call could be made in `timeout_s`.
        """
        self._token = token
        self._timeout_s = call_timeout_s(timeout_s)
        self._channel = transport.aio_channel(target, tls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def load(self, model: str, version: str) -> ModelVersion:
        """Loads a version, or loads it anew where its files have changed; returns once it is READY."""
        return await make(self._channel, Calls(model, version, self._token).load(), self._timeout_s)

    async def unload(self, model: str, version: str) -> bool:
        """Frees a version once the calls that it has taken have ended; says whether it was the default one."""
        return await make(self._channel, Calls(model, version, self._token).unload(), self._timeout_s)
