"""The port that Prometheus asks."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from prometheus_client import start_http_server

from detector_grpc.errors import SetupInvalid
from detector_grpc.settings import address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry


@contextlib.contextmanager
def metrics_server(host: str, port: int, setting: str, collectors: CollectorRegistry) -> Iterator[int]:
    """Answers Prometheus meanwhile, on a thread; gives the port, which the system chooses where it is 0.

    Raises:
        SetupInvalid: The address cannot be bound; it names the setting.
    """
    try:
        server, thread = start_http_server(port, host, collectors)
    except OSError as error:
        raise SetupInvalid(
            [f"cannot listen on {address(host, port)} for metrics ({setting}): {error.strerror}"]
        ) from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
