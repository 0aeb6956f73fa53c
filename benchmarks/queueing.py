"""Simulated servers: calls that gateways share among many of them, and live streams at one of them.

A server is so many workers. Each looks at one picture at a time, in the order of coming, and takes for it one of the
times that it is known to take; all else between a caller and a worker takes time as well, and no worker. Times of
Poisson arrivals are drawn, everything else follows: there is no step in time, so that servers and calls may be many.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ANSWER_S = 0.01  # that a server keeps of a deadline for the way of the answer
BLOCK = 4096  # draws at once


@dataclass(frozen=True)
class Server:
    """One server.

    Attributes:
        workers: Pictures that it looks at at once.
        service_s: Times that a worker takes for a picture; which one is drawn.
        beside_s: Times that a caller waits beside that; as above.
    """

    workers: int
    service_s: NDArray[np.float64]
    beside_s: NDArray[np.float64]

    @property
    def mean_service_s(self) -> float:
        """Mean time of a worker for a picture."""
        return float(self.service_s.mean())

    @property
    def capacity_per_s(self) -> float:
        """Pictures a second that it can look at."""
        return self.workers / self.mean_service_s


class Draws:
    """Draws from samples, one at a time, without the price of drawing one at a time."""

    def __init__(self, samples: NDArray[np.float64], rng: np.random.Generator) -> None:
        self._samples, self._rng = samples, rng
        self._drawn: list[float] = []

    def __call__(self) -> float:
        """One of them."""
        if not self._drawn:
            self._drawn = self._rng.choice(self._samples, BLOCK).tolist()
        return self._drawn.pop()


class Calls(NamedTuple):
    """What became of calls.

    Attributes:
        latency_s: Of those that were answered, float64.
        refused: How many were refused, as they would have been late.
    """

    latency_s: NDArray[np.float64]
    refused: int

    @property
    def refused_share(self) -> float:
        """Of all of them. Range [0, 1]."""
        return self.refused / max(self.refused + len(self.latency_s), 1)


def share_calls(
    server: Server,
    servers: int,
    arrivals_s: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    gateways: int = 1,
    deadline_s: float = inf,
    max_wait_s: float = 5.0,
    from_s: float = 0.0,
) -> Calls:
    """Calls that come to any of the gateways, each of which sends them where it has the fewest under way itself.

    As Envoy's LEAST_REQUEST does: of two servers that are drawn, which may be the same one.

    Args:
        server: Each of the servers.
        servers: How many there are.
        arrivals_s: When calls come, ascending.
        rng: For all that is drawn.
        gateways: How many there are. None knows what the others have under way.
        deadline_s: What callers wait at most.
        max_wait_s: Longest that servers let a call wait for a worker, whatever its deadline.
        from_s: When calls begin to count.
    """
    service, beside = Draws(server.service_s, rng), Draws(server.beside_s, rng)
    expected_s = server.mean_service_s
    free_at = [[0.0] * server.workers for _ in range(servers)]
    under_way: list[list[list[float]]] = [[[] for _ in range(servers)] for _ in range(gateways)]
    drawn = zip(*rng.integers(0, servers, (2, len(arrivals_s))).tolist(), strict=True)
    of_gateway = rng.integers(0, gateways, len(arrivals_s)).tolist()
    latencies, refused = [], 0
    for at, gateway, pair in zip(arrivals_s.tolist(), of_gateway, drawn, strict=True):
        mine = under_way[gateway]
        first, second = (ended(mine[number], at) for number in pair)
        chosen = pair[0] if len(first) <= len(second) else pair[1]
        workers = free_at[chosen]
        begins = max(at, workers[0])
        if begins > at and (begins - at > max_wait_s or begins - at + expected_s + ANSWER_S > deadline_s):
            refused += at >= from_s
            continue
        done = begins + service()
        heapq.heapreplace(workers, done)
        answered = done + beside()
        heapq.heappush(mine[chosen], answered)
        if at >= from_s:
            latencies.append(answered - at)
    return Calls(np.array(latencies), refused)


def ended(under_way: list[float], at: float) -> list[float]:
    """Without the calls that have ended by then."""
    while under_way and under_way[0] <= at:
        heapq.heappop(under_way)
    return under_way


class Frames(NamedTuple):
    """What became of the frames of live streams at one server.

    Attributes:
        age_s: Of those that were looked at, when their answer came, float64.
        due: How many there were.
    """

    age_s: NDArray[np.float64]
    due: int

    @property
    def looked_at(self) -> float:
        """Share that was looked at. Range [0, 1]."""
        return len(self.age_s) / max(self.due, 1)


def watch(
    server: Server, starts_s: NDArray[np.float64], fps: float, seconds: float, rng: np.random.Generator
) -> Frames:
    """Live streams at one server: of each at most one frame waits, the newest, and streams take turns.

    What still waits in the end counts as not looked at.

    Args:
        server: The server.
        starts_s: When the first frame of each stream comes, float64 (streams,).
        fps: Frames a second of each.
        seconds: How long.
        rng: For all that is drawn.
    """
    service, beside = Draws(server.service_s, rng), Draws(server.beside_s, rng)
    due_s = (starts_s + np.arange(int(seconds * fps))[:, None] / fps).ravel()
    order = np.argsort(due_s, kind="stable")
    free_at = [0.0] * server.workers
    newest: dict[int, float] = {}  # by stream, of those that wait
    turns: deque[int] = deque()
    ages = []

    def look(came_at: float, begins: float) -> None:
        done = begins + service()
        heapq.heapreplace(free_at, done)
        ages.append(done + beside() - came_at)

    for at, stream in zip(due_s[order].tolist(), (order % max(len(starts_s), 1)).tolist(), strict=True):
        while turns and free_at[0] <= at:
            look(newest.pop(turns.popleft()), free_at[0])
        if not turns and free_at[0] <= at:
            look(at, at)
            continue
        if stream not in newest:
            turns.append(stream)
        newest[stream] = at
    return Frames(np.array(ages), len(due_s))
