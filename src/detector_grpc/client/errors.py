"""What a failed call says."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from detector_grpc import headers
from detector_grpc.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import grpc

# Where gRPC carries a google.rpc.Status beside the plain code and message.
_DETAILS_KEY = "grpc-status-details-bin"

# Names of the canonical codes by number.
_NAMES: Mapping[int, str] = {number: name for name, number in code_pb2.Code.items()}


@dataclass(eq=False)
class CallFailed(Exception):
    """A call that got no answer, or an error as its answer.

    Attributes:
        code: The canonical status code, e.g. "INVALID_ARGUMENT".
        message: A sentence for people.
        reason: The server's stable name of what went wrong, e.g. "IMAGE_UNDECODABLE". Empty if it is not our server
            that failed the call: connection refused, deadline passed, a proxy.
        metadata: Limits and actual values, for programs.
        violations: The fields of the request that are wrong.
        retry_after_s: Seconds after which the same call may succeed; None if the server does not say.
        request_id: The id under which the server logged the call; empty if the call did not reach it.
    """

    code: str
    message: str
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[Violation, ...] = ()
    retry_after_s: float | None = None
    request_id: str = ""

    def __str__(self) -> str:
        name = f"{self.code} ({self.reason})" if self.reason else self.code
        return f"{name}: {self.message}" if self.message else name

    @classmethod
    def of(cls, error: grpc.RpcError) -> CallFailed:
        """Reads everything that the error of a blocking or an asyncio call carries."""
        # Pairs, whatever the type stubs say.
        trailing = dict(cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ()))
        failure = cls(
            code=error.code().name, message=error.details() or "", request_id=str(trailing.get(headers.REQUEST_ID, ""))
        )
        with contextlib.suppress(DecodeError):  # some proxy's own; code and message stand
            failure._read_details(status_pb2.Status.FromString(cast("bytes", trailing.get(_DETAILS_KEY, b""))))
        return failure

    @classmethod
    def of_status(cls, status: status_pb2.Status, request_id: str = "") -> CallFailed:
        """Reads the error of a part of a call, such as one frame of a stream."""
        failure = cls(code=_NAMES.get(status.code, "UNKNOWN"), message=status.message, request_id=request_id)
        failure._read_details(status)
        return failure

    def _read_details(self, status: status_pb2.Status) -> None:
        info, bad_request, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        for detail in status.details:
            if detail.Unpack(info):
                self.reason = info.reason
                self.metadata = dict(info.metadata)
            elif detail.Unpack(bad_request):
                self.violations = tuple(
                    Violation(violation.field, violation.description) for violation in bad_request.field_violations
                )
            elif detail.Unpack(retry):
                self.retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
