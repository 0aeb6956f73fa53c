"""Which server each of many live streams is at, as gateways place them: they stay there until something moves them."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

NOWHERE = -1


class Fleet:
    """Servers, gateways and streams.

    Each stream passes one gateway. That sends it, when it begins and whenever it moves, to the one of two servers,
    drawn among those that are up, that has fewer of this gateway's own streams: Envoy's LEAST_REQUEST.

    Args:
        servers: How many are up.
        gateways: How many there are. None knows what the others have sent where.
        streams: How many there are, which are placed at once.
        rng: For all that is drawn.
        max_age_s: Seconds after which a stream moves; `inf` is never. How old each is at first is drawn.

    Attributes:
        up: Numbers of the servers that take streams.
        server_of: The server of each stream, int64.
    """

    def __init__(
        self, servers: int, gateways: int, streams: int, rng: np.random.Generator, max_age_s: float = inf
    ) -> None:
        self.up = np.arange(servers)
        self.server_of = np.full(streams, NOWHERE)
        self._rng = rng
        self._gateway_of = rng.integers(0, gateways, streams)
        self._held = [[0] * servers for _ in range(gateways)]
        self._max_age_s = max_age_s
        self._age_s = np.zeros(streams)
        self.move(np.arange(streams))
        if np.isfinite(max_age_s):
            self._age_s = rng.uniform(0, max_age_s, streams)

    def move(self, streams: NDArray[np.int64]) -> None:
        """Each of these in turn leaves its server and is placed anew; it may get the same one."""
        drawn = self.up[self._rng.integers(0, len(self.up), (2, len(streams)))].tolist()
        placed = []
        of = zip(self._gateway_of[streams].tolist(), self.server_of[streams].tolist(), *drawn, strict=True)
        for gateway, left, first, second in of:
            held = self._held[gateway]
            if left != NOWHERE:
                held[left] -= 1
            chosen = first if held[first] <= held[second] else second
            held[chosen] += 1
            placed.append(chosen)
        self.server_of[streams] = placed
        self._age_s[streams] = 0

    def add(self, servers: int) -> NDArray[np.int64]:
        """New servers, without any streams: their numbers."""
        added = len(self._held[0]) + np.arange(servers)
        for held in self._held:
            held.extend([0] * servers)
        self.up = np.concatenate([self.up, added])
        return added

    def remove(self, servers: Iterable[int]) -> None:
        """These servers take no more streams, and those that they have move."""
        removed = np.fromiter(servers, np.int64)
        self.up = np.setdiff1d(self.up, removed)
        self.move(np.flatnonzero(np.isin(self.server_of, removed)))

    def grow_old(self, seconds: float) -> None:
        """So much time passes, no more than the largest age, and streams that have it then move."""
        self._age_s += seconds
        self.move(np.flatnonzero(self._age_s >= self._max_age_s))

    def streams(self) -> NDArray[np.int64]:
        """How many streams each server has that is up, int64."""
        return np.bincount(self.server_of, minlength=len(self._held[0]))[self.up]
