"""Whether a gateway answers REST: asked for its health and models, and to look at a picture, as any caller would."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import click

from detector_grpc.client import TlsFiles
from detector_grpc.errors import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIMEOUT_S = 30.0

# What every answer with detections has; docs/rest.md.
MEMBERS = frozenset({"request_id", "version", "detections", "inference_time", "image_shape", "confidence_threshold"})


@dataclass(frozen=True)
class Check:
    """One thing that was asked.

    Attributes:
        what: Method and path.
        ok: Whether the answer is as it should be.
        detail: What was answered, in a few words.
    """

    what: str
    ok: bool
    detail: str


class Failed(Exception):
    """An answer that is not as it should be."""


class Rest:
    """A gateway.

    Args:
        url: Its root; http if it does not say.
        token: Bearer token, or None to show none.
        tls: Certificates for https; None: as usual.

    Raises:
        click.UsageError: The URL is none of HTTP.
    """

    def __init__(self, url: str, token: str | None, tls: TlsFiles | None) -> None:
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            self._host, self._port = parts.hostname, parts.port
        except ValueError:
            self._host = None
        if self._host is None or parts.scheme not in ("http", "https"):
            raise click.UsageError(f"--rest takes a URL like http://localhost:8000, got {url}")
        self._is_http, self._root = parts.scheme == "http", parts.path.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._tls = tls

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:  # noqa: ANN401  any JSON
        """The JSON of an answer.

        Raises:
            Failed: There was none, or an error.
        """
        connection = self._connection()
        try:
            headers = self._headers | ({"content-type": "application/octet-stream"} if body is not None else {})
            connection.request(method, self._root + path, body, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except ConnectionRefusedError as error:
            raise Failed("nobody answers there; `detector-grpc up` starts a gateway") from error
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"no answer by HTTP: {error}; is this a gateway, and https what it speaks or not?") from error
        except ValueError as error:
            raise Failed(f"the answer is no JSON: {error}") from error
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            said = answer.get("message", answer.get("status", "")) if isinstance(answer, dict) else ""
            raise Failed(f"{response.status} {response.reason}: {said}".rstrip(": "))
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._host or "", self._port
        if self._is_http:
            return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        tls = self._tls or TlsFiles()
        context = ssl.create_default_context(cafile=tls.authority)
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.private_key)
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)


def smoke(rest: Rest, picture: bytes) -> Iterator[Check]:
    """Asks for the health, the models, and for the objects in a picture: of any version, and of each that is ready.

    What fails keeps nothing else from being asked.
    """
    ready: list[tuple[str, str]] = []

    def health() -> str:
        answer = rest.ask("GET", "/health")
        ready.extend((each["model"], each["version"]) for each in answer["versions"] if each["ready"])
        _expect(answer["status"] == "SERVING" and bool(ready), f"{answer['status']}, {len(ready)} versions are ready")
        return f"ready: {listed(f'{model} {version}' for model, version in ready)}"

    def models() -> str:
        return f"{len(rest.ask('GET', '/models')['versions'])} versions"

    def predict(path: str, version: str) -> str:
        answer = rest.ask("POST", path, picture)
        _expect(answer.keys() == MEMBERS, f"the answer has the members {listed(sorted(answer))}")
        _expect(version in ("", answer["version"]), f"{answer['version']} has answered")
        return f"{answer['version']} found {len(answer['detections'])} in {answer['inference_time'] * 1e3:.1f} ms"

    yield _check("GET /health", health)
    yield _check("GET /models", models)
    yield _check("POST /predict", partial(predict, "/predict", ""))
    for model, version in ready:
        path = f"/{quote(version, safe='')}/predict?model={quote(model, safe='')}"
        yield _check(f"POST {path}", partial(predict, path, version))


def _check(what: str, ask: Callable[[], str]) -> Check:
    try:
        return Check(what, ok=True, detail=ask())
    except Failed as failure:
        return Check(what, ok=False, detail=str(failure))
    except (AttributeError, KeyError, TypeError) as error:  # some other JSON
        return Check(what, ok=False, detail=f"the answer is not as documented: {error!r}")


def _expect(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - as of assert
    if not condition:
        raise Failed(otherwise)
