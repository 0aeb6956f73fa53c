"""An HTTP server of one file, as good or as bad as a test wants it."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from support.servers import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass
class Origin:
    """What it answers, which a test may change at any time, and what it was asked.

    Attributes:
        content: The file, under any path.
        cuts: After how many bytes of an answer connections are cut, one after the other; then none is.
        says: Status and headers of other answers, one after the other; then it gives the file.
        ranges: Whether it gives parts.
        knows_conditions: Whether it gives them only of a file that has not changed.
        tag: Its ETag; None: that of the content; empty: none.
        media_type: What it says the file is.
        hangs_at: Bytes of an answer after which it waits for `go_on`; None: it does not.
        asked: Path and headers (names in lower case) of every request.
    """

    content: bytes
    cuts: list[int] = field(default_factory=list)
    says: list[tuple[int, Mapping[str, str]]] = field(default_factory=list)
    ranges: bool = True
    knows_conditions: bool = True
    tag: str | None = None
    media_type: str = "application/octet-stream"
    hangs_at: int | None = None
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    hanging: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    @property
    def starts(self) -> list[str]:
        """From where each request wanted the file; empty for all of it."""
        return [headers.get("range", "") for _, headers in self.asked]

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()}"' if self.tag is None else self.tag


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        made = self.server.made
        made.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        if made.says:
            status, headers = made.says.pop(0)
            self._head(status, {"Content-Length": "0", **headers})
            return
        start = self._start(made)
        if start is not None and start >= len(made.content):
            self._head(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(made.content)}"})
            return
        part = made.content[start or 0 :]
        headers = {"Content-Type": made.media_type, "Content-Length": str(len(part))}
        if made.etag:
            headers["ETag"] = made.etag
        if start is not None:
            headers["Content-Range"] = f"bytes {start}-{len(made.content) - 1}/{len(made.content)}"
        self._head(200 if start is None else 206, headers)
        self._body(made, part)

    def _start(self, made: Origin) -> int | None:
        wanted = self.headers.get("Range")
        condition = self.headers.get("If-Range", made.etag)
        if wanted is None or not made.ranges or (made.knows_conditions and condition != made.etag):
            return None
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _body(self, made: Origin, part: bytes) -> None:
        if made.hangs_at is not None:
            self.wfile.write(part[: made.hangs_at])
            part = part[made.hangs_at :]
            made.hanging.set()
            made.go_on.wait(PATIENCE_S)
        self.wfile.write(part[: made.cuts.pop(0)] if made.cuts else part)

    def log_message(self, *arguments: object) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:  # whoever asked has gone
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    def __init__(self, made: Origin) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.made = made
        made.url = f"http://127.0.0.1:{self.server_port}/"


@contextmanager
def origin(content: bytes, **manner: object) -> Iterator[Origin]:
    """A server on loopback; its URL ends with a slash."""
    made = Origin(content, **manner)
    with _Server(made) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            made.go_on.set()
            server.shutdown()
            thread.join()
