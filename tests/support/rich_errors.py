"""Reads what an error tells to programs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    import grpc

DETAILS_KEY = "grpc-status-details-bin"

# What must never reach a caller: paths, file names of our code, tracebacks.
_LEAK = re.compile(r"(/[\w.@+-]+){2,}|\.py\b|Traceback|\bline \d+|0x[0-9a-f]{6,}|<[a-z_]+\.[A-Za-z_.]+")

T = TypeVar("T", bound=Message)


def status_of(error: grpc.RpcError) -> status_pb2.Status:
    """The rich status of a failed call; one without is a failure of the test."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            return status_pb2.Status.FromString(value)
    raise AssertionError(f"no details come with {error.code()}: {error.details()}")


def detail_of(error: grpc.RpcError, kind: type[T]) -> T:
    """The only detail of a kind."""
    found = []
    for packed in status_of(error).details:
        detail = kind()
        if packed.Unpack(detail):
            found.append(detail)
    assert len(found) == 1, f"{len(found)} of {kind.__name__} in {status_of(error)}"
    return found[0]


def info_of(error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    """Reason, domain and metadata."""
    return detail_of(error, error_details_pb2.ErrorInfo)


def reason_of(error: grpc.RpcError) -> str:
    """The stable name of what was wrong."""
    return info_of(error).reason


def retry_after_s(error: grpc.RpcError) -> float:
    """How long the caller is asked to wait."""
    return detail_of(error, error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds()


def violations_of(error: grpc.RpcError) -> dict[str, str]:
    """What is said of each wrong field."""
    violations = detail_of(error, error_details_pb2.BadRequest).field_violations
    return {violation.field: violation.description for violation in violations}


def leak_in(error: grpc.RpcError) -> str:
    """The first thing in the error that is nobody's business outside; empty if there is none."""
    texts = [error.details() or ""]
    if any(key == DETAILS_KEY for key, _ in error.trailing_metadata() or ()):
        texts.append(str(info_of(error).metadata))
    found = _LEAK.search(" ".join(texts))
    return found.group() if found else ""
