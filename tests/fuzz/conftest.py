"""What both fuzzers share: damaging bytes, watching memory, and silence."""

from __future__ import annotations

import os
import resource
import struct
import sys
import zlib
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MIB = 1024 * 1024
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
EXTREME = [0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1]


class Mutator:
    """Damages bytes in all the ways that files are damaged, by accident or on purpose; the same each time."""

    def __init__(self, corpus: Sequence[bytes], seed: int = 0) -> None:
        self._corpus = list(corpus)
        self._rng = np.random.default_rng(seed)
        self._ways = [
            self.flip,
            self.overwrite,
            self.truncate,
            self.splice,
            self.edit_number,
            self.swap_header,
            self.insert,
            self.remove,
            self.repeat,
        ]

    def inputs(self, count: int) -> Iterator[bytes]:
        """`count` inputs, each damaged one to three times."""
        for _ in range(count):
            data = self._pick()
            for _ in range(max(1, self._below(4))):
                data = self._ways[self._below(len(self._ways))](data)
            yield with_right_checksums(data) if data.startswith(PNG_SIGNATURE) and self._below(2) else data

    def flip(self, data: bytes) -> bytes:
        damaged = bytearray(data)
        for _ in range(self._below(8) + 1 if data else 0):
            damaged[self._below(len(data))] ^= 1 << self._below(8)
        return bytes(damaged)

    def overwrite(self, data: bytes) -> bytes:
        at, length = self._below(len(data) + 1), self._below(32)
        return data[:at] + self._rng.bytes(length) + data[at + length :]

    def truncate(self, data: bytes) -> bytes:
        return data[: self._below(len(data) + 1)]

    def splice(self, data: bytes) -> bytes:
        other = self._pick()
        return data[: self._below(len(data) + 1)] + other[self._below(len(other)) :]

    def edit_number(self, data: bytes) -> bytes:
        """Puts an extreme number of two or four bytes somewhere; every other time where a file has a length or size."""
        width, form = ((2, "H"), (4, "I"))[self._below(2)]
        form = "<>"[self._below(2)] + form
        places = lengths(data) if self._below(2) else []
        at = places[self._below(len(places))] if places else self._below(len(data) + 1)
        number = EXTREME[self._below(len(EXTREME))] % (1 << 8 * width)
        return data[:at] + struct.pack(form, number) + data[at + width :]

    def swap_header(self, data: bytes) -> bytes:
        length = self._below(64)
        return self._pick()[:length] + data[length:]

    def insert(self, data: bytes) -> bytes:
        at = self._below(len(data) + 1)
        return data[:at] + self._rng.bytes(self._below(16) + 1) + data[at:]

    def remove(self, data: bytes) -> bytes:
        at = self._below(len(data) + 1)
        return data[:at] + data[at + self._below(64) + 1 :]

    def repeat(self, data: bytes) -> bytes:
        at, length = self._below(len(data) + 1), self._below(256)
        return data[: at + length] + data[at:]

    def _pick(self) -> bytes:
        return self._corpus[self._below(len(self._corpus))]

    def _below(self, limit: int) -> int:
        return int(self._rng.integers(limit))


def lengths(data: bytes) -> list[int]:
    """Where files have the lengths of their parts, and the sizes of the picture."""
    if data.startswith(PNG_SIGNATURE):
        return [start for start, _, _ in chunks(data)] + [16, 20]
    if data.startswith(b"RIFF"):
        return [4, 16, 21, 24, 26, 28, 34, 46, 54, 60]
    if data.startswith(b"BM"):
        return [2, 10, 14, 18, 22, 26, 28, 30, 34, 46, 54, 58, 62]
    if data.startswith((b"II", b"MM")) and len(data) >= 8:
        (start,) = struct.unpack_from("<I" if data.startswith(b"II") else ">I", data, 4)
        return [4, start, *(entry + field for entry in range(start + 2, len(data) - 12, 12) for field in (0, 2, 4, 8))]
    return [at + 2 for at in range(min(len(data) - 1, 800)) if data[at] == 0xFF and 0xC0 <= data[at + 1] < 0xFF]


def chunks(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Start, start of the checksum, and end of each chunk of a PNG."""
    start = len(PNG_SIGNATURE)
    while start + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, start)
        if start + 12 + length > len(data):
            return
        yield start, start + 8 + length, start + 12 + length
        start += 12 + length


def with_right_checksums(data: bytes) -> bytes:
    """The PNG with checksums that are right, so that what was damaged is read."""
    repaired = bytearray(data)
    for start, checksum, end in chunks(data):
        repaired[checksum:end] = struct.pack(">I", zlib.crc32(data[start + 4 : checksum]))
    return bytes(repaired)


class Memory:
    """Watches what the process holds, after a tenth of the inputs has warmed everything up."""

    def __init__(self, inputs: int) -> None:
        self._process = psutil.Process()
        self._warm_at = inputs // 10
        self._seen = 0
        self._held = self._peak = 0

    def tick(self) -> None:
        self._seen += 1
        if self._seen == self._warm_at:
            self._held, self._peak = self._process.memory_info().rss, peak_bytes()

    def assert_flat(self, grown_bytes: int = 20 * MIB, peak_grown_bytes: int = 64 * MIB) -> None:
        assert self._seen > self._warm_at
        assert self._process.memory_info().rss - self._held < grown_bytes
        assert peak_bytes() - self._peak < peak_grown_bytes


def peak_bytes() -> int:
    """The most memory that the process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.fixture
def mutator() -> Callable[..., Mutator]:
    return Mutator


@pytest.fixture
def memory() -> Callable[[int], Memory]:
    return Memory


@pytest.fixture
def quiet_decoders() -> Iterator[None]:
    """The C libraries behind OpenCV complain about broken files on file descriptor 2."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
