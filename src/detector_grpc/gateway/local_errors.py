"""Errors that Envoy makes itself, in the words and the shape of the servers' own."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, NamedTuple

from detector_grpc.errors import DOMAIN
from detector_grpc.gateway.template import fill


class LocalError(NamedTuple):
    """What one HTTP status means.

    Attributes:
        code: The canonical gRPC code.
        reason: For programs, as ErrorInfo has it.
        message: For people.
        meaning: For the documentation.
    """

    code: int
    reason: str
    message: str
    meaning: str


LOCAL_ERRORS = {
    400: LocalError(
        3,
        "INVALID_REQUEST",
        "the request is no HTTP that can be read; in its path and query all but ASCII must be percent-encoded",
        "The request is no HTTP that can be read.",
    ),
    404: LocalError(5, "PATH_NOT_FOUND", "there is nothing at this path", "There is nothing at this path."),
    405: LocalError(
        12,
        "HTTP_METHOD_NOT_ALLOWED",
        "this path does not take that HTTP method",
        "The header `allow` says which.",
    ),
    408: LocalError(4, "RECEIVE_TIMEOUT", "the request took too long to arrive", "The request did not arrive in time."),
    413: LocalError(
        8,
        "MESSAGE_TOO_LARGE",
        "the body of the request has more than {max_body_bytes} bytes, the limit",
        "The body has more bytes than may be sent.",
    ),
    415: LocalError(
        3,
        "CONTENT_TYPE_UNSUPPORTED",
        "the content type must be multipart/form-data, image/*, application/octet-stream or application/json, in ASCII",
        "The body is neither a form nor JSON nor a picture, by its content type.",
    ),
    426: LocalError(
        12,
        "HTTP_VERSION_UNSUPPORTED",
        "the request is HTTP/1.0; HTTP/1.1 or HTTP/2 is needed",
        "The request is HTTP/1.0.",
    ),
    431: LocalError(
        3,
        "HEADERS_TOO_LARGE",
        "the headers of the request are too large or too many",
        "There are too many headers, or they are too large.",
    ),
    503: LocalError(14, "NO_SERVER_READY", "no server can answer now", "No server that could answer is healthy."),
    504: LocalError(4, "ANSWER_TIMEOUT", "the answer took too long", "A call without a deadline took too long."),
}


def local_errors(max_body_bytes: int) -> list[Any]:
    """Envoy's mappers: callers of native gRPC get Envoy's own words, all others JSON.

    Args:
        max_body_bytes: Largest body of a request of REST.
    """
    mappers = [fill("grpc_error")]
    for status, error in LOCAL_ERRORS.items():
        metadata = {"maxBytes": str(max_body_bytes)} if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else {}
        mappers.append(
            fill(
                "local_error",
                status=status,
                key=f"gateway.local_error.{status}",
                code=error.code,
                message=error.message.format(max_body_bytes=max_body_bytes),
                reason=error.reason,
                domain=DOMAIN,
                metadata=metadata,
            )
        )
    return mappers
