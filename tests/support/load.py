"""Callers who call a gateway on and on, by gRPC and by REST, and count how that ends."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Self

import grpc
import numpy as np

from support.calls import connected, encoded_request
from support.pictures import png
from support.rest import Rest

if TYPE_CHECKING:
    from support.gateways import Gateway

# For thousands of calls.
LOAD_PATIENCE_S = 600.0

PICTURE = png(np.zeros((64, 64, 3), np.uint8))
REQUEST = encoded_request(PICTURE)


class Load:
    """Calls from several threads until the end of a `with` block, at the earliest after a number of calls.

    Args:
        gateway: What is called.
        goal: How many calls are made at least.
        callers: How many threads call by gRPC; as many do by REST.

    Attributes:
        goal: How many calls are made at least.
        answered: Calls by protocol and version that answered.
        failed: Calls by protocol and what they ended with.
    """

    def __init__(self, gateway: Gateway, goal: int, callers: int = 4) -> None:
        self._address = gateway.address
        self.goal = goal
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=each) for each in (self._call_grpc, self._call_rest) * callers]
        self.answered: Counter[tuple[str, str]] = Counter()
        self.failed: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.wait_for(self.goal)
        finally:
            self._stopping.set()
            for thread in self._threads:
                thread.join()
            self._took_s = time.monotonic() - self._started

    def wait_for(self, calls: int) -> None:
        """Waits until so many calls have ended."""
        deadline = time.monotonic() + LOAD_PATIENCE_S
        while self.total < calls:
            assert time.monotonic() < deadline, f"only {self.total} of {calls} calls"
            time.sleep(0.01)

    @property
    def total(self) -> int:
        """Calls that have ended so far."""
        return self.answered.total() + self.failed.total()

    def __str__(self) -> str:
        by_protocol: Counter[str] = Counter()
        for (protocol, _), calls in self.answered.items():
            by_protocol[protocol] += calls
        return (
            f"{self.total} calls in {self._took_s:.1f} s, answered {dict(by_protocol)}, "
            f"failed {self.failed.total()} {dict(self.failed) or ''}"
        )

    def _call_grpc(self) -> None:
        with connected(self._address) as client:
            while not self._stopping.is_set():
                try:
                    self._count(self.answered, "grpc", client.detect(REQUEST).version)
                except grpc.RpcError as error:
                    self._count(self.failed, "grpc", f"{error.code()} {error.details()}")

    def _call_rest(self) -> None:
        with closing(Rest(self._address)) as rest:
            while not self._stopping.is_set():
                answer = rest("POST", "/predict", PICTURE, "image/png")
                if answer.status == 200:
                    self._count(self.answered, "rest", answer.json["version"])
                else:
                    self._count(self.failed, "rest", f"{answer.status} {answer.body!r}")

    def _count(self, counter: Counter[tuple[str, str]], protocol: str, what: str) -> None:
        with self._lock:
            counter[protocol, what] += 1
