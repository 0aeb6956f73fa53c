"""The log never keeps a call waiting, whoever reads it."""

from __future__ import annotations

import json
import logging
import os
import threading
from typing import TYPE_CHECKING, TextIO

import pytest

from detector_grpc.json_log import JsonLog

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE = "x" * 1000
LINES = 200  # more than a pipe takes


@pytest.fixture
def pipe() -> Iterator[tuple[TextIO, TextIO]]:
    reader, writer = os.pipe()
    with os.fdopen(reader) as read, os.fdopen(writer, "w") as write:
        yield read, write


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("name", logging.INFO, "path", 1, message, (), None)
    made.__dict__.update(fields)
    return made


def test_a_record_is_a_line_with_its_fields(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    log = JsonLog(writer)
    log.emit(record("call", caller="ann"))
    log.close()
    fields = json.loads(reader.readline())
    assert fields.pop("time")
    assert fields == {"level": "INFO", "logger": "name", "message": "call", "caller": "ann"}


def test_lines_that_are_not_read_in_time_are_dropped_and_counted(pipe: tuple[TextIO, TextIO]) -> None:
    reader, writer = pipe
    log = JsonLog(writer, max_waiting=5)
    for _ in range(LINES):
        log.emit(record(LINE))
    assert log.dropped > LINES // 4
    got: list[str] = []
    reading = threading.Thread(target=lambda: got.extend(reader))
    reading.start()
    log.close()
    writer.close()
    reading.join()
    assert len(got) + log.dropped == LINES
    assert all(json.loads(line)["message"] == LINE for line in got)


def test_that_nobody_reads_any_more_is_no_reason_to_stop() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", buffering=1)
    log = JsonLog(stream)
    for _ in range(3):
        log.emit(record("call"))
    log.close()
    assert log.dropped == 3
    with pytest.raises(BrokenPipeError):
        stream.close()
