"""Engines without a GPU: one that doubles numbers when it is let, and one that takes as long as a GPU would."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from detector_grpc.serving.session import CPU_PROVIDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from mmap import mmap

    from detector_grpc.serving.rows import Row


class DoublingEngine:
    """Answers twice what it is fed with.

    Attributes:
        sizes: The size of every batch that was run, in order.
        gate: Runs wait until it is set.
        began: Released once for every run that has begun.
        failures: Errors for the next runs, in order; None for a run that goes well.
        closed: Set when it was closed.
        pinned_bytes: Memory that is pinned.
        threads: Those that ran batches.
    """

    def __init__(self) -> None:
        self.provider = CPU_PROVIDER
        self.sizes: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Semaphore(0)
        self.failures: deque[Exception | None] = deque()
        self.closed = threading.Event()
        self.pinned_bytes = 0
        self.threads: set[int] = set()

    @contextmanager
    def pinned(self, memory: mmap) -> Iterator[None]:
        self.pinned_bytes += len(memory)
        try:
            yield
        finally:
            self.pinned_bytes -= len(memory)

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        return [2 * feeds["images"].astype(np.float32) for _ in outputs]

    def run_batch(self, rows: Sequence[Row], size: int) -> None:
        assert len(rows) <= size
        self.threads.add(threading.get_ident())
        self.sizes.append(size)
        self.began.release()
        assert self.gate.wait(30)
        if self.failures and (failure := self.failures.popleft()):
            raise failure
        for row in rows:
            for result in row.results.values():
                result[:] = 2 * row.feeds["images"].astype(np.float32)

    def close(self) -> None:
        assert not self.closed.is_set()
        self.closed.set()
