"""The files that browsers get: the page, and the two views of the API's documentation."""

from __future__ import annotations

import base64
import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import openapi_ui_bundles

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGE = Path(str(files("detector_grpc")))
_PAGE = _PACKAGE / "gateway" / "page"
_OPENAPI = _PACKAGE / "gateway" / "openapi.json"
_PICTURES = _PACKAGE / "bundled" / "pictures"
_SWAGGER_UI = openapi_ui_bundles.swagger_ui.static_path
_REDOC = openapi_ui_bundles.redoc.static_path

# The one thing that ReDoc would fetch from elsewhere.
_REDOC_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"

_CONTENT_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}

_VENDORED = (_SWAGGER_UI / "swagger-ui-bundle.js", _SWAGGER_UI / "swagger-ui.css", _REDOC / "redoc.standalone.js")


@dataclass(frozen=True)
class File:
    """One file as it is sent.

    Attributes:
        body: Its bytes.
        compressed: The same by gzip; None where that saves nothing.
        content_type: Its media type.
        etag: Changes with the bytes.
    """

    body: bytes
    compressed: bytes | None
    content_type: str
    etag: str


@dataclass(frozen=True)
class Assets:
    """All of them, in memory.

    Attributes:
        digest: Changes with any file of `static`. It is part of their addresses, so browsers may keep them for good,
            and modules that import each other are always of one version.
        static: Files by name, which may hold "/".
        pages: HTML pages by name, without suffix.
        openapi: The description of the REST API.
    """

    digest: str
    static: Mapping[str, File]
    pages: Mapping[str, File]
    openapi: File


def read_assets() -> Assets:
    """Reads all files, once."""
    paths = {path.name: path for path in (*_PAGE.iterdir(), *_VENDORED) if path.suffix != ".html"}
    paths |= {f"pictures/{path.name}": path for path in _PICTURES.glob("*.jpg")}
    static = {name: _file(name, _read(path)) for name, path in sorted(paths.items())}
    digest = _digest("".join(f"{name} {file.etag} " for name, file in static.items()).encode())
    names = {"static": f"/static/{digest}"}
    pages = {
        path.stem: _file(path.name, Template(path.read_text(encoding="utf-8")).substitute(names).encode())
        for path in _PAGE.glob("*.html")
    }
    return Assets(digest, static, pages, _file(_OPENAPI.name, _OPENAPI.read_bytes()))


def _read(path: Path) -> bytes:
    logo = base64.b64encode((_REDOC / "logo-mini.svg").read_bytes())
    return path.read_bytes().replace(_REDOC_LOGO, b"data:image/svg+xml;base64," + logo)


def _file(name: str, body: bytes) -> File:
    content_type = _CONTENT_TYPES[Path(name).suffix]
    compressed = None if content_type == "image/jpeg" else gzip.compress(body, mtime=0)
    return File(body, compressed, content_type, _digest(body))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
