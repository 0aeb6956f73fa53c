"""The log is one JSON object per line, and keeps no call waiting, whoever reads it."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, TextIO

import pytest

from detector_grpc.json_log import JsonLog
from detector_grpc.output import Output

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOSE_S = 20.0
LINE = "x" * 1000
LINES = 200  # more than a pipe takes


@pytest.fixture
def pipe() -> Iterator[tuple[TextIO, int]]:
    """A reader, and where to write; the latter is the test's to close."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as read:
        yield read, writer


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("name", logging.INFO, "path", 1, message, (), None)
    made.__dict__.update(fields)
    return made


def test_a_record_is_a_line_with_its_fields(pipe: tuple[TextIO, int]) -> None:
    reader, writer = pipe
    output = Output(writer)
    JsonLog(output).emit(record("two\nlines", caller="ann"))
    output.close(CLOSE_S)
    os.close(writer)
    fields = json.loads(reader.read())
    assert fields.pop("time")
    assert fields == {"level": "INFO", "logger": "name", "message": "two\nlines", "caller": "ann"}


def test_lines_that_are_not_read_in_time_are_dropped_and_counted(pipe: tuple[TextIO, int]) -> None:
    reader, writer = pipe
    output = Output(writer, max_unread_bytes=5000)
    for _ in range(LINES):
        JsonLog(output).emit(record(LINE))
    assert output.dropped > LINES // 4
    got: list[str] = []
    reading = threading.Thread(target=lambda: got.extend(reader))
    reading.start()
    output.close(CLOSE_S)
    os.close(writer)
    reading.join()
    assert len(got) + output.dropped == LINES
    assert all(json.loads(line)["message"] == LINE for line in got)


def test_that_nobody_reads_any_more_is_no_reason_to_stop() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    output = Output(writer)
    for _ in range(3):
        JsonLog(output).emit(record("call"))
    output.close(CLOSE_S)
    os.close(writer)
    assert output.dropped == 3


def test_a_pipe_that_is_full_for_a_moment_is_not_given_up_on(pipe: tuple[TextIO, int]) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)
    output = Output(writer, max_unread_bytes=10**6)
    for _ in range(LINES):
        output.write_line(LINE.encode())
    while not output.dropped:
        time.sleep(0.001)
    os.set_blocking(writer, True)
    reading = threading.Thread(target=lambda: got.extend(reader))
    got: list[str] = []
    reading.start()
    output.write_line(b"again")
    output.close(CLOSE_S)
    os.close(writer)
    reading.join()
    assert got[-1] == "again\n"
