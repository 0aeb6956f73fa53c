"""HTTP as a stranger speaks it."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from support.servers import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.gateways import Gateway


class Answer(NamedTuple):
    """What came back. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def detail(self, kind: str) -> dict[str, Any]:
        """The only detail of a kind of google.rpc."""
        (found,) = [each for each in self.json["details"] if each["@type"] == f"type.googleapis.com/google.rpc.{kind}"]
        return dict(found)

    @property
    def violations(self) -> list[str]:
        """Names of the fields at fault."""
        return [each["field"] for each in self.detail("BadRequest")["field_violations"]]


def ask(
    gateway: Gateway, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(gateway.address, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, dict(headers or {}))
        return _answer(connection.getresponse())
    finally:
        connection.close()


def post(gateway: Gateway, path: str, content_type: str, body: bytes, **headers: str) -> Answer:
    """As `ask`; underscores in names of headers are dashes."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(gateway, "POST", path, body, {"content-type": content_type} | given)


@contextmanager
def connection(gateway: Gateway) -> Iterator[socket.socket]:
    """For whatever bytes."""
    host, _, port = gateway.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as opened:
        yield opened


def answer_to(opened: socket.socket) -> Answer:
    """What comes next on a connection."""
    response = http.client.HTTPResponse(opened)
    response.begin()
    return _answer(response)


def told(gateway: Gateway, request: bytes) -> Answer:
    """The answer to some bytes."""
    with connection(gateway) as opened:
        opened.sendall(request)
        return answer_to(opened)


def _answer(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
