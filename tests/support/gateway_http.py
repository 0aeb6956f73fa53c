"""Starts `detector-grpc gateway serve` as a process of its own, and speaks HTTP with it."""

from __future__ import annotations

import http.client
import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from support.metrics import Metrics
from support.servers import PATIENCE_S, ServerProcess, variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Nothing listens there on any machine.
NOBODY = "127.0.0.1:1"

COMMAND = (sys.executable, "-m", "detector_grpc", "gateway", "serve")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class GatewayHttp:
    """A running process.

    Attributes:
        process: The process, and all that it logs.
        port: Where it listens, on loopback.
    """

    def __init__(self, process: ServerProcess) -> None:
        self.process = process
        self.port: int = process.wait_for_log("listening")["port"]

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """One request, whose answer is given as it came; `if_none_match=` is short for the header If-None-Match."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def metrics(self) -> Metrics:
        """The metrics of all processes."""
        answer = self.ask("/metrics")
        assert answer.status == 200
        return Metrics(answer.body.decode())


@contextmanager
def gateway_http(servers: Sequence[ServerProcess] = (), **settings: object) -> Iterator[GatewayHttp]:
    """A process that stands before these servers; settings as for `server_process`."""
    before = {
        "gateway_http_port": 0,
        "gateway_state": "/nonexistent",
        "gateway_servers": ",".join(server.address for server in servers) or NOBODY,
        "gateway_server_metrics": ",".join(f"{server.host}:{server.metrics_port}" for server in servers) or NOBODY,
    }
    process = ServerProcess(variables(before | settings), COMMAND)
    try:
        yield GatewayHttp(process)
    finally:
        process.close()
