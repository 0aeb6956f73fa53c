"""HTTP as a stranger speaks it."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from support.servers import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def post(gateway: Gateway, path: str, content_type: str, body: bytes, **headers: str) -> Answer:
    """As `ask`; underscores in names of headers are dashes."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(gateway, "POST", path, body, {"content-type": content_type} | given)
