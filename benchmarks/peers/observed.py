"""The metrics that a service has which somebody operates: requests and their duration, by path and status."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REQUESTS = Counter("requests", "Requests", ("path", "status"))
_DURATION = Histogram("request_duration_seconds", "Their duration", ("path",))


class Observed:
    """Counts and times requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 - ASGI's own
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            _REQUESTS.labels(scope["path"], status).inc()
            _DURATION.labels(scope["path"]).observe(time.perf_counter() - started)
