"""The book of one stream's frames: every frame that is accepted gets exactly one answer, in the order of accepting.

States of a frame, and all the ways between them:

    accept ──► waiting ──► running ──► settled ──► answered
                  │                      ▲
                  └──────────────────────┘   dropped: superseded by a newer one, or stale when a worker was free

Invariants: a frame leaves the book by being answered, and only so; answers leave in the order in which frames were
accepted; a frame is taken at most once, and never after it was dropped. In mode LATEST at most one frame waits, the
newest; in mode LOSSLESS none is ever dropped. No I/O and no clock of its own, so that every interleaving can be tested.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PayloadT = TypeVar("PayloadT")


class DropReason(Enum):
    """Why a frame was not looked at."""

    SUPERSEDED = "superseded"
    STALE = "stale"
    OVERLOAD = "overload"


class Delivery(Enum):
    """What happens when frames come faster than they can be looked at."""

    LATEST = "latest"
    LOSSLESS = "lossless"


@dataclass(eq=False)
class Frame(Generic[PayloadT]):
    """One frame in the book.

    Attributes:
        payload: What the caller of the book keeps with it.
        arrived: When it was accepted, seconds.
        outcome: What became of it: a result, a DropReason or an error; None until it is settled.
    """

    payload: PayloadT
    arrived: float
    outcome: object = field(default=None, repr=False)


class FrameBook(Generic[PayloadT]):
    """Keeps account of the frames of one stream.

    Args:
        delivery: Whether frames may be dropped.
        max_age_s: Age at which a waiting frame is dropped in mode LATEST; None for never.
        on_settled: Called with every frame, once, when it is known what became of it.
    """

    def __init__(
        self, delivery: Delivery, max_age_s: float | None, on_settled: Callable[[Frame[PayloadT]], None]
    ) -> None:
        self._delivery = delivery
        self._max_age_s = max_age_s
        self._on_settled = on_settled
        self._waiting: deque[Frame[PayloadT]] = deque()
        self._unanswered: deque[Frame[PayloadT]] = deque()

    @property
    def waiting(self) -> int:
        """Number of frames that wait for a worker."""
        return len(self._waiting)

    @property
    def unanswered(self) -> int:
        """Number of frames that were accepted and not answered yet."""
        return len(self._unanswered)

    @property
    def superseded_next(self) -> Frame[PayloadT] | None:
        """The frame whose place the next one takes; None where it takes that of none."""
        return self._waiting[0] if self._delivery is Delivery.LATEST and self._waiting else None

    def accept(self, payload: PayloadT, now: float) -> Frame[PayloadT]:
        """Enters a frame, which waits from now on; in mode LATEST in the place of the one that waited."""
        frame = Frame(payload, now)
        if self.superseded_next is not None:
            self.settle(self._waiting.popleft(), DropReason.SUPERSEDED)
        self._waiting.append(frame)
        self._unanswered.append(frame)
        return frame

    def accept_settled(self, payload: PayloadT, now: float, outcome: object) -> Frame[PayloadT]:
        """Enters a frame that nobody need look at, such as a broken one; its answer waits for those before it."""
        frame = Frame(payload, now)
        self._unanswered.append(frame)
        self.settle(frame, outcome)
        return frame

    def take(self, now: float) -> Frame[PayloadT] | None:
        """The frame to look at now, if there is one; those that have become stale are dropped on the way."""
        while self._waiting:
            frame = self._waiting.popleft()
            if self._max_age_s is None or self._delivery is Delivery.LOSSLESS or now - frame.arrived <= self._max_age_s:
                return frame
            self.settle(frame, DropReason.STALE)
        return None

    def settle(self, frame: Frame[PayloadT], outcome: object) -> None:
        """Says what became of a frame that was taken; what is settled stays as it is."""
        if frame.outcome is None:
            frame.outcome = outcome
            self._on_settled(frame)

    def abandon(self, outcome: object) -> None:
        """Settles whatever is not settled yet: nobody is left to answer to."""
        self._waiting.clear()
        for frame in self._unanswered:
            self.settle(frame, outcome)
        self._unanswered.clear()

    def answers(self) -> Iterator[Frame[PayloadT]]:
        """Takes out the frames whose answers are next, as far as they are settled."""
        while self._unanswered and self._unanswered[0].outcome is not None:
            yield self._unanswered.popleft()
