"""What a caller learns of a call that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from detector_grpc.client import CallFailed

if TYPE_CHECKING:
    from conftest import Connect, Server


async def failure_of(connect: Connect, *address: str) -> CallFailed:
    async with connect(*address) as detector:
        with pytest.raises(CallFailed) as failure:
            await detector.models()
    return failure.value


async def test_all_details_of_a_refusal_are_read(connect: Connect, server: Server) -> None:
    server.fail(
        grpc.StatusCode.INVALID_ARGUMENT,
        "two fields are wrong",
        error_details_pb2.ErrorInfo(reason="INVALID_REQUEST", domain="detector.v1", metadata={"limit": "1000"}),
        error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(field="options.classes", description="no such class"),
                error_details_pb2.BadRequest.FieldViolation(field="image", description="missing"),
            ]
        ),
    )
    failure = await failure_of(connect)
    assert (failure.code, failure.reason, failure.message) == (
        "INVALID_ARGUMENT",
        "INVALID_REQUEST",
        "two fields are wrong",
    )
    assert failure.metadata == {"limit": "1000"}
    assert failure.violations == (("options.classes", "no such class"), ("image", "missing"))
    assert failure.violations[0].field == "options.classes"
    assert failure.retry_after_s is None
    assert failure.request_id == "r-1"
    assert str(failure) == "INVALID_ARGUMENT (INVALID_REQUEST): two fields are wrong"


async def test_an_overload_says_when_to_come_back(connect: Connect, server: Server) -> None:
    server.fail(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "100 requests wait already",
        error_details_pb2.ErrorInfo(reason="QUEUE_FULL"),
        error_details_pb2.RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000)),
    )
    failure = await failure_of(connect)
    assert (failure.code, failure.reason, failure.retry_after_s) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL", 1.5)


async def test_details_of_other_kinds_are_passed_over(connect: Connect, server: Server) -> None:
    server.fail(
        grpc.StatusCode.INTERNAL,
        "internal error",
        error_details_pb2.RequestInfo(request_id="r-1"),
        error_details_pb2.ErrorInfo(reason="INTERNAL"),
    )
    failure = await failure_of(connect)
    assert (failure.reason, failure.violations, failure.metadata) == ("INTERNAL", (), {})


async def test_details_that_are_no_status_do_not_hide_the_error(connect: Connect, server: Server) -> None:
    def fail(context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff\xff"),))
        context.abort(grpc.StatusCode.INTERNAL, "a proxy broke")

    server.red.failure = fail
    failure = await failure_of(connect)
    assert (failure.code, failure.reason, failure.message) == ("INTERNAL", "", "a proxy broke")


def test_an_error_without_a_message_is_shown_by_its_code() -> None:
    assert str(CallFailed("NOT_FOUND", "")) == "NOT_FOUND"


async def test_without_a_server_the_code_is_unavailable_and_there_is_no_reason(
    connect: Connect, server: Server
) -> None:
    server.stop()
    failure = await failure_of(connect, server.address)
    assert (failure.code, failure.reason, failure.request_id) == ("UNAVAILABLE", "", "")
    assert "refused" in failure.message
    assert str(failure).startswith("UNAVAILABLE: ")
