"""Errors that Envoy makes itself, in the words and the shape of the servers' own."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, NamedTuple

from detector_grpc.gateway.template import fill

DOMAIN = "detector.v1"


class LocalError(NamedTuple):
    """What one HTTP status means.

    Attributes:
        code: The canonical gRPC code.
        reason: For programs, as ErrorInfo has it.
        message: For people; "%LOCAL_REPLY_BODY%" is what Envoy says.
    """

    code: int
    reason: str
    message: str


LOCAL_ERRORS = {
    400: LocalError(3, "INVALID_REQUEST", "%LOCAL_REPLY_BODY%"),
    404: LocalError(5, "PATH_NOT_FOUND", "there is nothing at this path"),
    405: LocalError(12, "HTTP_METHOD_NOT_ALLOWED", "this path does not take that HTTP method"),
    408: LocalError(4, "RECEIVE_TIMEOUT", "the request took too long to arrive"),
    413: LocalError(8, "MESSAGE_TOO_LARGE", "the body of the request has more than {max_body_bytes} bytes, the limit"),
    415: LocalError(
        3,
        "CONTENT_TYPE_UNSUPPORTED",
        "the content type must be multipart/form-data, image/*, application/octet-stream or application/json",
    ),
    429: LocalError(8, "TOO_MANY_REQUESTS", "too many requests"),
    431: LocalError(3, "HEADERS_TOO_LARGE", "the headers of the request are too large or too many"),
    503: LocalError(14, "NO_SERVER_READY", "no server can answer: %LOCAL_REPLY_BODY%"),
    504: LocalError(4, "ANSWER_TIMEOUT", "the answer took too long"),
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
