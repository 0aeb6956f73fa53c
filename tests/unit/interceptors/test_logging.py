"""The lines of calls."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import grpc
import pytest
from support.virtual_time import in_virtual_time

from detector_grpc.interceptors.calls import CallEnd
from detector_grpc.interceptors.logging import TOGETHER_S, AccessLog
from detector_grpc.serving.outcome import Call

if TYPE_CHECKING:
    from support.virtual_time import VirtualTime

LOGGER = "detector_grpc.interceptors.logging"


DETECT = "/detector.v1.DetectorService/Detect"


def end(method: str = DETECT) -> CallEnd:
    call = Call(method, "id-1", "ann", "yolo", "v1")
    return CallEnd(call, grpc.StatusCode.NOT_FOUND, 0.0123456, 1_700_000_000.5)


def refusal(caller: str = "ann", reason: str = "QUEUE_FULL") -> CallEnd:
    call = Call(DETECT, "id-1", caller, reason=reason)
    return CallEnd(call, grpc.StatusCode.RESOURCE_EXHAUSTED, 0.001, 1_700_000_000.5)


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[object, ...]]:
    """Of every line: what it is, whom and what it is about, and how many calls."""
    fields = [record.__dict__ for record in caplog.records]
    return [(each["message"], each["caller"], each["reason"], each.get("count", 1)) for each in fields]


def test_a_line_says_who_called_what_and_how_it_ended(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    AccessLog()(end())
    (record,) = caplog.records
    fields = record.__dict__
    assert (record.name, record.levelno, record.getMessage()) == (LOGGER, logging.INFO, "call")
    assert {
        name: fields[name] for name in ("method", "code", "duration_ms", "request_id", "caller", "model", "version")
    } == {
        "method": "/detector.v1.DetectorService/Detect",
        "code": "NOT_FOUND",
        "duration_ms": 12.346,
        "request_id": "id-1",
        "caller": "ann",
        "model": "yolo",
        "version": "v1",
    }


def test_the_time_of_the_line_is_that_of_the_call(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    AccessLog()(end())
    assert caplog.records[0].created == 1_700_000_000.5


@pytest.mark.parametrize("method", ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"])
def test_probes_are_logged_only_for_debugging(caplog: pytest.LogCaptureFixture, method: str) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    AccessLog()(end(method))
    assert caplog.records == []
    caplog.set_level(logging.DEBUG, LOGGER)
    AccessLog()(end(method))
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]


async def test_refusals_of_one_kind_are_told_by_the_first_and_the_number_of_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    access_log = AccessLog()
    for _ in range(100):
        access_log(refusal())
        access_log(refusal(reason="WOULD_BE_LATE"))
        access_log(refusal(caller="bob"))
    access_log(refusal(caller="eve"))
    access_log.flush()
    firsts = [("ann", "QUEUE_FULL"), ("ann", "WOULD_BE_LATE"), ("bob", "QUEUE_FULL")]
    assert told(caplog) == [
        *(("call", *kind, 1) for kind in [*firsts, ("eve", "QUEUE_FULL")]),
        *(("calls refused", *kind, 99) for kind in firsts),
    ]
    assert {(record.__dict__["method"], record.__dict__["code"]) for record in caplog.records} == {
        (DETECT, "RESOURCE_EXHAUSTED")
    }


async def test_the_next_refusal_after_the_number_was_told_has_a_line_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    access_log = AccessLog()
    for _ in range(2):
        access_log(refusal())
        access_log.flush()
    assert told(caplog) == [("call", "ann", "QUEUE_FULL", 1)] * 2


def test_the_number_is_told_within_a_second_without_anybody_asking(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)

    async def refuse(_: VirtualTime) -> None:
        access_log = AccessLog()
        for _ in range(3):
            access_log(refusal())
        await asyncio.sleep(0.9 * TOGETHER_S)
        assert len(caplog.records) == 1
        await asyncio.sleep(0.2 * TOGETHER_S)

    in_virtual_time(refuse)
    assert told(caplog) == [("call", "ann", "QUEUE_FULL", 1), ("calls refused", "ann", "QUEUE_FULL", 2)]


async def test_for_debugging_every_refusal_has_its_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    access_log = AccessLog()
    for _ in range(3):
        access_log(refusal())
    access_log.flush()
    assert told(caplog) == [("call", "ann", "QUEUE_FULL", 1)] * 3
