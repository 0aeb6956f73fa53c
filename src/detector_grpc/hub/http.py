"""Files by HTTP: in parts (RFC 9110, 13.1.5 and 14), by way of redirections and of the proxies that are set."""

from __future__ import annotations

import http.client
import re
import ssl
import urllib.request
from contextlib import closing, contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import detector_grpc
from detector_grpc.hub.source import Part, PullFailed, TryAgain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.client import HTTPMessage
    from typing import IO

# Seconds without a byte after which a connection counts as cut.
TIMEOUT_S = 30.0

# Longest that a server may ask us to wait, in seconds.
_MOST_WAIT_S = 60.0

_HEADERS = {
    "User-Agent": f"detector-grpc/{detector_grpc.__version__}",
    "Accept-Encoding": "identity",  # or parts would be of what is packed
}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_BUSY: frozenset[int] = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_WHY: dict[int, str] = {
    HTTPStatus.NOT_FOUND: "there is no such file",
    HTTPStatus.GONE: "there is no such file any more",
    HTTPStatus.UNAUTHORIZED: "it is not for everybody",
    HTTPStatus.FORBIDDEN: "it is not for everybody",
}


class HttpSource:
    """A file at a URL. See Source.

    Args:
        name: For people.
        url: Makes the URL for one request; what has it signed may give another one each time.
        token: Bearer token for the host of the URL alone; empty for none.
        advice: What to do where the server refuses.

    Raises:
        PullFailed: The URL cannot be used.
    """

    def __init__(self, name: str, url: Callable[[], str], token: str = "", advice: str = "") -> None:
        self.name = name
        self._url = url
        self._advice = advice
        parts = urlsplit(url())
        if parts.username is not None or parts.password is not None:
            raise PullFailed(f"{name}: user names and passwords do not belong into an address")
        if not parts.hostname:
            raise PullFailed(f"{name}: the address names no host")
        self.is_authentic = parts.scheme == "https" or parts.hostname in _LOOPBACK
        self._token = token if self.is_authentic else ""
        self._opener = urllib.request.build_opener(_Redirections)

    @contextmanager
    def open(self, start: int, tag: str) -> Iterator[Part]:
        """See Source."""
        with closing(self._answer(start, tag)) as response:
            if response.headers.get_content_type() == "text/html":
                raise PullFailed(f"{self.name}: that is a web page, and no model file")
            yield self._part(response)

    def _answer(self, start: int, tag: str) -> Any:  # noqa: ANN401 - as urllib answers
        request = urllib.request.Request(self._url(), headers=_HEADERS)  # noqa: S310 - http and https only
        if self._token:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        if start:
            request.add_header("Range", f"bytes={start}-")
            if tag:
                request.add_header("If-Range", tag)
        try:
            response = self._opener.open(request, timeout=TIMEOUT_S)
        except HTTPError as error:
            with error:
                if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
                    return self._answer(0, "")
                raise self._refused(error) from error
        except URLError as error:
            raise self._unreachable(error.reason) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        if start and tag and tag != _tag(response.headers):  # there are servers that do not know If-Range
            response.close()
            return self._answer(0, "")
        return response

    def _part(self, response: Any) -> Part:  # noqa: ANN401 - as urllib answers
        headers, start, size = response.headers, 0, None
        found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if found is not None:  # whatever the status: there are stores that send parts with 200
            start, size = int(found[1]), None if found[2] == "*" else int(found[2])
        elif response.status == HTTPStatus.PARTIAL_CONTENT:
            raise PullFailed(f"{self.name}: the server sends a part, and does not say which")
        elif headers.get("Content-Length", "").isdecimal():
            size = int(headers["Content-Length"])
        return Part(start, size, _tag(headers), _Body(response, self._unreachable))

    def _refused(self, error: HTTPError) -> PullFailed:
        said = f"{self.name}: the server answers {error.code} {error.reason}"
        if error.code in _BUSY:
            after = error.headers.get("Retry-After", "")
            return TryAgain(said, min(float(after), _MOST_WAIT_S) if after.isdecimal() else 0.0)
        advice = self._advice if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) else ""
        return PullFailed("; ".join(filter(None, (said, _WHY.get(error.code), advice))))

    def _unreachable(self, cause: object) -> PullFailed:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return PullFailed(
                f"{self.name}: the server's certificate is not to be trusted ({cause.verify_message}); "
                "the variable SSL_CERT_FILE names a file of other authorities"
            )
        return TryAgain(f"{self.name}: {getattr(cause, 'strerror', None) or cause or 'no answer'}")


def _tag(headers: HTTPMessage) -> str:
    """What stands for a state of the file, and may be asked for parts of; weak tags may not."""
    tag: str = headers.get("ETag", "")
    return headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag


class _Body:
    """See Body."""

    def __init__(self, response: Any, unreachable: Callable[[object], PullFailed]) -> None:  # noqa: ANN401
        self._response = response
        self._unreachable = unreachable

    def read(self, most: int) -> bytes:
        """See Body."""
        try:
            data: bytes = self._response.read1(most)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        return data


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follows no redirection to where what comes could be read or changed on its way, nor to local files."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme == "http"):
            raise PullFailed(
                f"{old.scheme}://{old.netloc} redirects to {new.scheme}://{new.netloc}, which is not encrypted: refused"
            )
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            request.unredirected_hdrs.update(req.unredirected_hdrs)
        return request
