"""The HTTP process beside Envoy: the page, the API's documentation, and what all servers say together."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from detector_grpc.errors import DOMAIN
from detector_grpc.gateway.local_errors import INTERNAL, LOCAL_ERRORS
from detector_grpc.gateway.shared import Shared

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from detector_grpc.gateway.assets import Assets, File
    from detector_grpc.gateway.health import HealthReport
    from detector_grpc.gateway.local_errors import LocalError

log = logging.getLogger(__name__)

_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Server": "detector-grpc",
    "X-Content-Type-Options": "nosniff",
}
_POLICY = "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
# Swagger UI and ReDoc write styles into the page, and ReDoc makes its searching worker of a string.
_DOCS_POLICY = f"{_POLICY}; style-src 'self' 'unsafe-inline'; worker-src 'self' blob:"

_UNCHANGING = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Sources:
    """Where answers come from.

    Attributes:
        assets: Files.
        health: Asks all servers whether they are ready.
        metrics: Sums the metrics of all servers, as Prometheus text.
        traffic: Asks how calls are shared now, as JSON has it; None where nobody says so.
    """

    assets: Assets
    health: Callable[[], Coroutine[None, None, HealthReport]]
    metrics: Callable[[], Coroutine[None, None, bytes]]
    traffic: Callable[[], Coroutine[None, None, Mapping[str, Any] | None]]


def application(sources: Sources) -> web.Application:
    """The process's answers by path."""
    assets = sources.assets
    health, metrics, traffic = Shared(sources.health), Shared(sources.metrics), Shared(sources.traffic)

    def page(name: str, policy: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            response = _sent(request, assets.pages[name], "no-cache")
            response.headers["Content-Security-Policy"] = policy
            return response

        return answer

    async def static(request: web.Request) -> web.StreamResponse:
        file = assets.static.get(request.match_info["name"])
        if file is None or request.match_info["digest"] != assets.digest:
            raise web.HTTPNotFound
        return _sent(request, file, _UNCHANGING)

    async def openapi(request: web.Request) -> web.StreamResponse:
        return _sent(request, assets.openapi, "no-cache")

    async def health_(_: web.Request) -> web.StreamResponse:
        report = await health()
        return web.json_response(report.to_dict(), status=200 if report.is_ready else 503)

    async def metrics_(_: web.Request) -> web.StreamResponse:
        return web.Response(body=await metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def traffic_(_: web.Request) -> web.StreamResponse:
        now = await traffic()
        if now is None:
            return _error(503, LOCAL_ERRORS[503], "no gateway says how it shares calls")
        return web.json_response(now)

    without_slash = web.normalize_path_middleware(append_slash=False, remove_slash=True)
    app = web.Application(middlewares=[without_slash, _errors_as_json])
    app.on_response_prepare.append(_add_headers)
    app.add_routes(
        [
            web.get("/", page("index", _POLICY)),
            web.get("/docs", page("docs", _DOCS_POLICY)),
            web.get("/redoc", page("redoc", _DOCS_POLICY)),
            web.get("/static/{digest}/{name:.+}", static),
            web.get("/openapi.json", openapi),
            web.get("/health", health_),
            web.get("/metrics", metrics_),
            web.get("/traffic", traffic_),
        ]
    )
    return app


def _sent(request: web.Request, file: File, caching: str) -> web.Response:
    headers = {"Cache-Control": caching, "ETag": f'"{file.etag}"', "Vary": "Accept-Encoding"}
    known = request.if_none_match
    if known is not None and any(tag.value in (file.etag, "*") for tag in known):
        return web.Response(status=304, headers=headers)
    body = file.body
    if file.compressed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        body = file.compressed
        headers["Content-Encoding"] = "gzip"
    charset = "utf-8" if file.content_type.startswith("text/") else None
    return web.Response(body=body, headers=headers, content_type=file.content_type, charset=charset)


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Errors as the REST API has them: `code`, `message` and `details`."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return _error(404, LOCAL_ERRORS[404], f"there is nothing at {request.path}; /docs says what there is")
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))
        if request.method == "OPTIONS":
            return web.Response(status=204, headers={"Allow": allowed})
        message = f"{request.path} takes {allowed}, not {request.method}"
        return _error(405, LOCAL_ERRORS[405], message, {"Allow": allowed})
    except Exception:
        log.exception("a request failed", extra={"path": request.path})
        return _error(500, INTERNAL, INTERNAL.message)


def _error(
    status: int, error: LocalError, message: str, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": error.reason,
        "domain": DOMAIN,
        "metadata": {},
    }
    body = {"code": error.code, "message": message, "details": [info]}
    return web.json_response(body, status=status, headers=headers)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Content-Security-Policy", _POLICY)
    response.headers.setdefault("Cache-Control", "no-store")
