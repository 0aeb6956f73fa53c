"""The first look at an outcome, on the event loop: whether it is worth one by somebody who has the time.

It costs next to nothing, for most pictures end here, at the latest once the budget is used up.
"""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

# Streams whose cooldown is remembered; beyond, that of those which began it first is forgotten, not that there is one:
# the ledger knows.
_MOST_STREAMS = 4096


class Choice(NamedTuple):
    """What is looked at.

    Attributes:
        threshold: A picture is uncertain where 1 - its uncertainty is below this. Range [0, 1].
        cooldown_s: Seconds between two looks at a stream.
    """

    threshold: float
    cooldown_s: float


class Gate:
    """Belongs to one thread, but for `close`.

    Args:
        choice: What is looked at.
        clock: Seconds, monotonic.
    """

    def __init__(self, choice: Choice, clock: Callable[[], float] = time.monotonic) -> None:
        self._choice = choice
        self._clock = clock
        self._closed_until = -inf
        self._rests_until: dict[str, float] = {}

    def is_uncertain(self, score: float) -> bool:
        """Whether a picture of this uncertainty is."""
        return 1 - score < self._choice.threshold

    def refusal(self, stream: str) -> str:
        """Why an uncertain picture is not looked at, in a word of metrics.OUTCOMES; empty where it is to be.

        Args:
            stream: What it is a frame of; empty for none.
        """
        now = self._clock()
        if now < self._closed_until:
            return "over_budget"
        if stream:
            if now < self._rests_until.get(stream, -inf):
                return "cooldown"
            self._rest(stream, now + self._choice.cooldown_s)
        return ""

    def close(self, seconds: float) -> None:
        """Refuses all pictures for so long: the budget is used up. May be called by any thread."""
        self._closed_until = self._clock() + seconds

    def _rest(self, stream: str, until: float) -> None:
        self._rests_until.pop(stream, None)
        self._rests_until[stream] = until
        if len(self._rests_until) > _MOST_STREAMS:
            del self._rests_until[next(iter(self._rests_until))]
