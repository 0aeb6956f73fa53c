"""The line of a call."""

from __future__ import annotations

import logging

import grpc
import pytest

from detector_grpc.interceptors.calls import CallEnd
from detector_grpc.interceptors.logging import log_call
from detector_grpc.serving.outcome import Call

LOGGER = "detector_grpc.interceptors.logging"


def end(method: str = "/detector.v1.DetectorService/Detect") -> CallEnd:
    call = Call(method, "id-1", "ann", "yolo", "v1")
    return CallEnd(call, grpc.StatusCode.NOT_FOUND, 0.0123456, 1_700_000_000.5)


def test_a_line_says_who_called_what_and_how_it_ended(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    log_call(end())
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
    log_call(end())
    assert caplog.records[0].created == 1_700_000_000.5


@pytest.mark.parametrize("method", ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"])
def test_probes_are_logged_only_for_debugging(caplog: pytest.LogCaptureFixture, method: str) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    log_call(end(method))
    assert caplog.records == []
    caplog.set_level(logging.DEBUG, LOGGER)
    log_call(end(method))
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]
