"""Errors that Envoy makes itself, in the words and the shape of the servers' own."""

from __future__ import annotations

from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from detector_grpc.errors import DOMAIN
from detector_grpc.gateway.template import fill

if TYPE_CHECKING:
    from collections.abc import Mapping


# What calls of gRPC and gRPC-Web are sent as.
GRPC_TYPES = "application/grpc(-web.*|[+;].*)?"


class LocalError(NamedTuple):
    """What one HTTP status means.

    Attributes:
        code: The canonical gRPC code.
        reason: For programs, as ErrorInfo has it.
        message: For people; "%LOCAL_REPLY_BODY%" is what a route says.
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
        "the request is no HTTP that can be read (%RESPONSE_CODE_DETAILS%); "
        "in its path and query all but ASCII must be percent-encoded",
        "The request is no HTTP that can be read.",
    ),
    404: LocalError(5, "PATH_NOT_FOUND", "there is nothing at this path", "There is nothing at this path."),
    405: LocalError(
        12,
        "HTTP_METHOD_NOT_ALLOWED",
        "%PATH(NQ)% takes %LOCAL_REPLY_BODY%, not %REQ(:METHOD)%",
        "The header `allow` says which methods the path takes.",
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
        "%LOCAL_REPLY_BODY%, got %REQ(CONTENT-TYPE):100%",
        "The path takes no body of that content type.",
    ),
    431: LocalError(
        3,
        "HEADERS_TOO_LARGE",
        "the headers of the request are too large or too many",
        "There are too many headers, or they are too large.",
    ),
    501: LocalError(
        12,
        "TRANSFER_ENCODING_UNSUPPORTED",
        "the transfer encoding must be chunked, or the request have a content length",
        "The transfer encoding is not `chunked`.",
    ),
    503: LocalError(14, "NO_SERVER_READY", "no server can answer now", "No server that could answer is healthy."),
    504: LocalError(4, "ANSWER_TIMEOUT", "the answer took too long", "A call without a deadline took too long."),
}

STOPPING = LocalError(
    14, "SHUTTING_DOWN", "the gateway stops and takes nothing new", "At `/health`: the gateway stops."
)
REFUSED = LocalError(
    3, "INVALID_REQUEST", "the request is refused (%RESPONSE_CODE_DETAILS%)", "Any other request that is refused."
)
INTERNAL = LocalError(13, "INTERNAL", "internal error; the log of the gateway has the cause", "Unexpected.")


def local_errors(max_body_bytes: int) -> dict[str, Any]:
    """Envoy's `local_reply_config`: callers of native gRPC get Envoy's own words, all others JSON.

    Args:
        max_body_bytes: Largest body of a request of REST.
    """
    mappers = [fill("unchanged", grpc_types=GRPC_TYPES), fill("stopping", body=_body(STOPPING))]
    for status, error in LOCAL_ERRORS.items():
        told = error._replace(message=error.message.format(max_body_bytes=max_body_bytes))
        metadata = {"maxBytes": str(max_body_bytes)} if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else {}
        mappers.append(_mapper("EQ", status, _body(told, metadata)))
    mappers.append(_mapper("LE", 499, _body(REFUSED)))
    return {"mappers": mappers, "body_format": _body(INTERNAL)}


def _mapper(compared: str, status: int, body: Any) -> Any:  # noqa: ANN401  parts of Envoy's configuration
    return fill("local_error", compared=compared, status=status, key=f"gateway.local_error.{status}", body=body)


def _body(error: LocalError, metadata: Mapping[str, str] = MappingProxyType({})) -> Any:  # noqa: ANN401
    code, reason, message, _ = error
    return fill("error", code=code, message=message, reason=reason, domain=DOMAIN, metadata=dict(metadata))
