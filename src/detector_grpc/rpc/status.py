"""The one table from domain errors to gRPC statuses; `docs/errors.md` shows it to people."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, NamedTuple

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status

from detector_grpc import errors, headers
from detector_grpc.errors import DOMAIN, DetectorError

if TYPE_CHECKING:
    from google.protobuf.message import Message

DETAILS_KEY = "grpc-status-details-bin"
INTERNAL_REASON = "INTERNAL"
UNIMPLEMENTED_REASON = "METHOD_NOT_IMPLEMENTED"

# A client takes 8 KiB of trailing metadata and drops the whole answer beyond; callers' own words, which come back in
# errors, may be of any length. Even percent-encoded and in base64 this much fits.
MAX_MESSAGE_BYTES = 512
MAX_DETAIL_BYTES = 192
MAX_VIOLATIONS = 8

CODES: dict[type[DetectorError], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ImageEmpty: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ImageUndecodable: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ImageTooLarge: grpc.StatusCode.INVALID_ARGUMENT,
    errors.RawImageInvalid: grpc.StatusCode.INVALID_ARGUMENT,
    errors.MessageTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,  # what gRPC itself says to even larger ones
    errors.ModelNotFound: grpc.StatusCode.NOT_FOUND,
    errors.VersionNotHeld: grpc.StatusCode.FAILED_PRECONDITION,
    errors.VersionNotFound: grpc.StatusCode.NOT_FOUND,
    errors.VersionFailed: grpc.StatusCode.FAILED_PRECONDITION,
    errors.VersionLoading: grpc.StatusCode.UNAVAILABLE,
    errors.ShuttingDown: grpc.StatusCode.UNAVAILABLE,
    errors.EngineGone: grpc.StatusCode.UNAVAILABLE,
    # Not UNAVAILABLE: gateways retry that at once, which multiplies the load of a server that has too much already.
    errors.WouldBeLate: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.QueueFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooManyRequests: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooManyStreams: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExpired: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.ReceiveTimeout: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.AnswersNotRead: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.TrackingNotInstalled: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ResumeTokenInvalid: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ResumeTokenExpired: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NotWatched: grpc.StatusCode.NOT_FOUND,
    errors.ReferenceInvalid: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ReportMissing: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.InferenceFailed: grpc.StatusCode.INTERNAL,
}


class RichStatus(NamedTuple):
    """What a failed call ends with: a code, a sentence, and google.rpc details for programs."""

    code: grpc.StatusCode
    message: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def rich_status(error: BaseException, request_id: str) -> RichStatus:
    """The status of a call that failed with this error."""
    status = status_message(error, request_id)
    trailing: list[tuple[str, str | bytes]] = [(DETAILS_KEY, status.SerializeToString())]
    if isinstance(error, errors.RetryLater):  # what clients of HTTP look for, in whole seconds
        trailing.append((headers.RETRY_AFTER, str(max(1, math.ceil(error.retry_after_s)))))
    return RichStatus(code_of(error), status.message, tuple(trailing))


def status_message(error: BaseException, request_id: str) -> Status:
    """The status of an error as a message; nothing of an unexpected one but the request's id."""
    code = code_of(error)
    if isinstance(error, DetectorError) and type(error) in CODES:
        message, reason, metadata = error.message, error.reason, error.metadata
    elif code is grpc.StatusCode.UNIMPLEMENTED:
        message, reason, metadata = "this server does not implement the method", UNIMPLEMENTED_REASON, {}
    else:
        message, reason, metadata = f"internal error; the server's log has it under {request_id}", INTERNAL_REASON, {}
    metadata = {key: _cut(value) for key, value in metadata.items()}
    info: list[Message] = [details.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)]
    info += _extra(error)
    info.append(details.RequestInfo(request_id=request_id))
    return Status(code=code.value[0], message=_cut(message, MAX_MESSAGE_BYTES), details=map(_pack, info))


def code_of(error: BaseException | None) -> grpc.StatusCode:
    """The canonical code of what a handler ended with; None is success."""
    if error is None:
        return grpc.StatusCode.OK
    if isinstance(error, asyncio.CancelledError):
        return grpc.StatusCode.CANCELLED
    if isinstance(error, NotImplementedError):  # what the generated servicers raise for a method nobody wrote
        return grpc.StatusCode.UNIMPLEMENTED
    return (
        CODES.get(type(error), grpc.StatusCode.INTERNAL)
        if isinstance(error, DetectorError)
        else (grpc.StatusCode.INTERNAL)
    )


def _extra(error: BaseException) -> list[Message]:
    match error:
        case errors.InvalidRequest():
            violations = [
                details.BadRequest.FieldViolation(field=_cut(violation.field), description=_cut(violation.description))
                for violation in error.violations[:MAX_VIOLATIONS]
            ]
            return [details.BadRequest(field_violations=violations)]
        case errors.ImageError():
            violation = details.BadRequest.FieldViolation(field="image", description=error.message)
            return [details.BadRequest(field_violations=[violation])]
        case errors.ResumeTokenInvalid() | errors.ResumeTokenExpired():
            violation = details.BadRequest.FieldViolation(field="config.resume_token", description=error.message)
            return [details.BadRequest(field_violations=[violation])]
        case errors.RetryLater():
            seconds, milliseconds = divmod(max(1, round(error.retry_after_s * 1000)), 1000)
            return [details.RetryInfo(retry_delay=Duration(seconds=seconds, nanos=milliseconds * 1_000_000))]
        case (
            errors.ModelNotFound()
            | errors.VersionNotHeld()
            | errors.VersionNotFound()
            | errors.VersionFailed()
            | errors.NotWatched()
        ):
            return [
                details.ResourceInfo(
                    resource_type="detector.v1.ModelVersion",
                    resource_name=_cut(error.resource),
                    description=_cut(error.message),
                )
            ]
    return []


def _cut(text: str, most_bytes: int = MAX_DETAIL_BYTES) -> str:
    data = text.encode()
    return text if len(data) <= most_bytes else f"{data[:most_bytes].decode(errors='ignore')}…"


def _pack(message: Message) -> Any:
    # As Any.Pack does, which is written in Python and takes three times as long.
    return Any(type_url=f"type.googleapis.com/{message.DESCRIPTOR.full_name}", value=message.SerializeToString())
