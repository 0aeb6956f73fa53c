"""Whatever a handler raises becomes a status that the caller may see."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status

from detector_grpc.errors import ImageEmpty, QueueFull
from detector_grpc.interceptors.calls import CallsInterceptor
from detector_grpc.interceptors.errors import ErrorsInterceptor
from detector_grpc.interceptors.later import Later
from detector_grpc.rpc.status import rich_status

TIMEOUT_S = 10
METHODS = ["UnaryUnary", "StreamUnary", "UnaryStream", "UnaryWrite", "StreamStream", "StreamWrite"]
ID = (("x-request-id", "id-1"),)


def stack() -> list[grpc.aio.ServerInterceptor]:
    return [CallsInterceptor(Later(), []), ErrorsInterceptor(rich_status)]


@pytest.mark.parametrize("method", METHODS)
async def test_an_expected_error_becomes_its_status_with_details_and_the_id(
    start: Any,
    service: Any,
    method: str,
) -> None:
    service.error = ImageEmpty
    client = await start(stack())
    call = client.start(method, b"raise", metadata=ID)
    _, code, details = await client.finish(call)
    assert (code, details) == (grpc.StatusCode.INVALID_ARGUMENT, "the picture is empty")
    trailing = dict(await call.trailing_metadata())
    assert trailing["x-request-id"] == "id-1"
    assert Status.FromString(trailing["grpc-status-details-bin"]).message == "the picture is empty"


@pytest.mark.parametrize("method", METHODS)
async def test_of_an_unexpected_error_the_caller_sees_the_id_and_the_log_the_cause(
    start: Any,
    service: Any,
    caplog: pytest.LogCaptureFixture,
    method: str,
) -> None:
    service.error = lambda: KeyError("secret /path")
    client = await start(stack())
    call = client.start(method, b"raise", metadata=ID)
    _, code, details = await client.finish(call)
    assert (code, details) == (grpc.StatusCode.INTERNAL, "internal error; the server's log has it under id-1")
    assert b"secret" not in dict(await call.trailing_metadata())["grpc-status-details-bin"]
    failures = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.__dict__["request_id"] for record in failures] == ["id-1"]
    assert "secret /path" in caplog.text


async def test_an_expected_error_is_not_logged_as_a_failure(
    start: Any,
    service: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service.error = lambda: QueueFull(1, 0.5)
    client = await start(stack())
    _, code, _ = await client.finish(client.start("UnaryUnary", b"raise"))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("method", METHODS)
async def test_a_status_that_was_decided_already_passes(start: Any, method: str) -> None:
    client = await start(stack())
    call = client.start(method, b"abort")
    _, code, details = await client.finish(call)
    assert (code, details) == (grpc.StatusCode.NOT_FOUND, "aborted on purpose")
    assert "grpc-status-details-bin" not in dict(await call.trailing_metadata())


@pytest.mark.parametrize("method", METHODS)
async def test_a_caller_that_leaves_is_no_error(
    start: Any,
    service: Any,
    caplog: pytest.LogCaptureFixture,
    method: str,
) -> None:
    client = await start(stack())
    call = client.start(method, b"hang")
    finishing = asyncio.create_task(client.finish(call))
    await asyncio.wait_for(service.hanging.wait(), TIMEOUT_S)
    call.cancel()
    _, code, _ = await finishing
    assert code is grpc.StatusCode.CANCELLED
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
