"""Requests of HTTP as bare as they come."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from support.servers import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: The HTTP status.
        headers: By their names in lower case.
        body: As it came.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Rest:
    """One connection.

    Args:
        address: `host:port`.
    """

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)

    def __call__(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "", **headers: str
    ) -> Answer:
        """One request. Names of headers are written with `_` in place of `-`."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        if content_type:
            told["content-type"] = content_type
        self._connection.request(method, path, body, told)
        response = self._connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())

    def close(self) -> None:
        self._connection.close()
