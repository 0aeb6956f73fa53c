"""Whether a stream that lost its server tries again, when, and when it gives up."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from detector_grpc.client.errors import CallFailed

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_WAIT_S = 0.1
DOUBLINGS = 6  # of the wait, so that none is longer than 6.4 s

# Codes of a server, or of a gateway before it, that may be gone with another try or at another server.
_PASSING = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED"})
# Codes that gRPC has for broken connections, too; then they come without a reason of ours.
_PASSING_WITHOUT_REASON = frozenset({"INTERNAL", "UNKNOWN"})


def is_passing(failure: CallFailed) -> bool:
    """Whether another try may mend it."""
    return failure.code in _PASSING or (failure.code in _PASSING_WITHOUT_REASON and not failure.reason)


class Outage:
    """A time without progress, from losing a server to the first sign that another one gets on with the frames.

    A server that takes a stream on and fails again is no progress: else a frame that brings servers down would be sent
    to one after the other, for ever.

    Args:
        timeout_s: Longest outage, in seconds, 0 or more.
        jitter: Where between 0 and 1 a wait is to lie in its range.

    Raises:
        ValueError: There is no such time.
    """

    def __init__(self, timeout_s: float, jitter: Callable[[], float] = random.random) -> None:
        if not timeout_s >= 0:  # which holds for NaN, too
            raise ValueError(f"reconnect_timeout_s is 0 seconds or more, not {timeout_s!r}")
        self._timeout_s = timeout_s
        self._jitter = jitter
        self._began_at: float | None = None
        self._tries = 0

    @property
    def ends_at(self) -> float:
        """When to give up, seconds; never where there is no outage."""
        return float("inf") if self._began_at is None else self._began_at + self._timeout_s

    def begin(self, now: float) -> None:
        """Says that no server gets on with the frames; changes nothing where that is known."""
        if self._began_at is None:
            self._began_at = now

    def end(self) -> None:
        """Says that a server gets on with the frames."""
        self._began_at = None
        self._tries = 0

    def next_try_at(self, failure: CallFailed | None, now: float) -> float:
        """When to try again.

        Args:
            failure: How the last try ended; None where a server asked to go on elsewhere.
            now: The time, seconds.

        Raises:
            CallFailed: There is no time left for another try.
        """
        self.begin(now)
        wait_s = 0.0
        if failure is not None or self._tries:
            wait_s = FIRST_WAIT_S * 2 ** min(self._tries, DOUBLINGS) * (1 + self._jitter()) / 2
        if failure is not None and failure.retry_after_s is not None:
            wait_s = max(wait_s, failure.retry_after_s * (1 + self._jitter() / 4))
        self._tries += 1
        if now + wait_s >= self.ends_at:
            raise failure or CallFailed("UNAVAILABLE", f"no server went on with the stream for {self._timeout_s:g} s")
        return now + wait_s
