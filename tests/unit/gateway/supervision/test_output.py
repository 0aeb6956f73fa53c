"""Lines of several writers in one stream: whole, named, in order, and never waited for."""

from __future__ import annotations

import os
import random
import re
import threading
import time
from typing import TYPE_CHECKING

import pytest

from detector_grpc.gateway.supervision.output import MAX_LINE_BYTES, LineSplitter, NamedOutput

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOSE_S = 30.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A read end and a write end."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def lines_of(read_end: int, count: int) -> list[str]:
    with os.fdopen(os.dup(read_end), encoding="utf-8") as file:
        return [file.readline().removesuffix("\n") for _ in range(count)]


def test_lines_of_many_writers_are_whole_and_each_writers_in_order(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    output = NamedOutput(write_end, coloured=False)
    texts = [f"{number} {'x' * (number % 300)} end" for number in range(500)]
    names = ("one", "two", "three")

    def write(name: str) -> None:
        writer = output.writer(name)
        for text in texts:
            writer.write_line(text.encode())

    threads = [threading.Thread(target=write, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    lines = lines_of(read_end, len(names) * len(texts))
    for thread in threads:
        thread.join()
    output.close(CLOSE_S)

    for name in names:
        assert [line for line in lines if line.startswith(name)] == [f"{name:<8} | {text}" for text in texts]


def test_a_reader_that_does_not_read_keeps_nobody_waiting_and_is_told_what_it_missed(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    output = NamedOutput(write_end, coloured=False, max_unread_bytes=100_000)
    writer = output.writer("server")
    began = time.monotonic()
    for number in range(20_000):  # some 2 MB, of which the pipe takes 64 KiB
        writer.write_line(f"{number} {'x' * 100}".encode())
    assert time.monotonic() - began < 20

    read: list[str] = []
    with os.fdopen(os.dup(read_end), encoding="utf-8") as file:
        reader = threading.Thread(target=lambda: read.extend(file))
        reader.start()
        output.close(CLOSE_S)
        os.close(write_end)
        reader.join()

    numbers, dropped = [], 0
    for line in read:
        if missed := re.fullmatch(r"\((\d+) lines were dropped: they were read too slowly\)\n", line):
            dropped += int(missed[1])
        else:
            numbers.append(int(line.split()[2]))
            assert line == f"server   | {numbers[-1]} {'x' * 100}\n"
    assert dropped > 10_000
    assert len(numbers) + dropped == 20_000
    assert numbers == sorted(numbers)


def test_a_reader_that_is_gone_harms_nobody(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    output = NamedOutput(write_end, coloured=False)
    os.close(read_end)
    for _ in range(1000):
        output.writer("server").write_line(b"nobody hears me")
    began = time.monotonic()
    output.close(CLOSE_S)
    assert time.monotonic() - began < 20


def test_closing_waits_for_a_reader_no_longer_than_it_may(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    output = NamedOutput(write_end, coloured=False)
    output.writer("server").write_line(b"x" * 500_000)
    began = time.monotonic()
    output.close(0.1)
    assert time.monotonic() - began < 20
    os.close(read_end)
    output.close(CLOSE_S)  # or its thread would write to whatever has the descriptor's number next


def test_names_have_colours_only_where_they_are_asked_for(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    for coloured in (False, True):
        output = NamedOutput(write_end, coloured=coloured)
        for name in ("server-0", "envoy"):
            output.writer(name).write_line(b"ready")
        output.close(CLOSE_S)
    assert lines_of(read_end, 4) == [
        "server-0 | ready",
        "envoy    | ready",
        "\x1b[36mserver-0\x1b[0m | ready",
        "\x1b[33menvoy   \x1b[0m | ready",
    ]


class TestLineSplitter:
    def test_makes_the_same_lines_of_any_pieces(self) -> None:
        lines = [b"", b"one", b"", b"three \xff", b"x" * 1000, b"no end"]
        data = b"\n".join(lines)
        generator = random.Random(1)  # noqa: S311 - sizes of pieces
        for _ in range(50):
            splitter, got, at = LineSplitter(), [], 0
            while at < len(data):
                size = generator.randint(1, 700)
                got += splitter.feed(data[at : at + size])
                at += size
            got += splitter.feed(b"")
            assert got == lines

    def test_cuts_a_line_that_has_no_end(self) -> None:
        splitter = LineSplitter()
        pieces = [line for _ in range(100) for line in splitter.feed(b"x" * 10_000)]
        assert all(MAX_LINE_BYTES <= len(piece) < MAX_LINE_BYTES + 10_000 for piece in pieces)
        rest = list(splitter.feed(b""))
        assert sum(map(len, pieces + rest)) == 1_000_000
