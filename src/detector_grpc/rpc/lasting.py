"""A server that outlasts gRPC's own, which ends for good at the first call whose path is not UTF-8, whoever makes it.

So it was in grpcio 1.85.1: the loop that takes calls decodes the path before anybody is asked, and what it raises ends
the server, but not the process, which would live on and answer nobody.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from detector_grpc.rpc import transport

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc.aio

log = logging.getLogger(__name__)

# How often a server is asked whether it has ended, which it does not tell.
ASK_S = 0.25

# What the calls in progress have to end, once another server takes the new ones.
GRACE_S = 1.0


class LastingServer:
    """A gRPC server that is made anew where gRPC has ended it.

    Args:
        make: Makes one that is not bound yet, with its services.
        setting: What sets its port, for errors.
    """

    def __init__(self, make: Callable[[], grpc.aio.Server], setting: str) -> None:
        self._make = make
        self._setting = setting
        self._server = make()
        self._bind_again: Callable[[], int] | None = None
        self._stopped = False

    def bind(self, address: str, tls: transport.TlsFiles | None) -> int:
        """Takes an address, and returns the port.

        Raises:
            SetupInvalid: The address cannot be bound, or a TLS file cannot be read.
        """
        port = transport.bind(self._server, address, self._setting, tls)
        same = f"{address.rpartition(':')[0]}:{port}"
        self._bind_again = lambda: transport.bind(self._server, same, self._setting, tls)
        return port

    async def start(self) -> None:
        """Begins to answer."""
        await self._server.start()

    async def last(self) -> None:
        """Makes a server anew whenever gRPC has ended one; returns when it is stopped.

        Raises:
            SetupInvalid: Its address cannot be bound again, or a TLS file cannot be read any more.
        """
        while not self._stopped:
            try:
                await self._server.wait_for_termination(ASK_S)
            except Exception as error:  # noqa: BLE001 - whatever it was, callers are waiting
                await self._begin_anew(error)

    async def stop(self, grace_s: float) -> None:
        """Takes no new calls, and waits at most `grace_s` seconds for those in progress."""
        self._stopped = True
        await self._server.stop(grace_s)

    async def _begin_anew(self, cause: Exception) -> None:
        ended, self._server = self._server, self._make()
        assert self._bind_again is not None  # noqa: S101 - for mypy
        self._bind_again()
        await self._server.start()
        log.error("gRPC has ended its server, which has begun anew", extra={"cause": str(cause)})
        await ended.stop(GRACE_S)
