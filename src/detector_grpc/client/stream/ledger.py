"""The frames of one stream and what became of them: every frame gets exactly one answer, in the order of reading.

Where a frame may be, and all the ways between:

    add ──► waiting ──► taken ──► sent ──► answered ──► read by the caller
             ▲   │        │        │          ▲
             │   └────────┼────────┼──────────┘   dropped here, or cannot be sent
             └────────────┴────────┘              its connection was lost

Taken means being encoded, or encoded and waiting for its turn. In mode "latest" at most one frame waits, the newest,
and none is taken before it may be sent; in mode "lossless" a few are encoded ahead, and none is ever dropped here. What
is held is bounded in both modes: `wants_more` says whether the source may be asked for another frame.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

from detector_grpc.client.stream.values import FrameT, StreamAnswer, StreamFrame

if TYPE_CHECKING:
    from detector_grpc._gen.detector.v1 import stream_pb2
    from detector_grpc.client.errors import CallFailed
    from detector_grpc.client.stream.values import DropReason, Mode, StreamReady

# Frames read and encoded ahead in mode "lossless", so that the next one is there when its turn comes.
ENCODED_AHEAD = 2
# Frames held in mode "latest", most of them dropped and their answers unread: about two seconds of a camera.
MOST_HELD = 64
# Results that the caller may leave unread in mode "latest" before no further frame is sent: what a slow caller gets is
# never much older than it is slow.
MOST_UNREAD = 2


@dataclass(eq=False)
class Entry(Generic[FrameT]):
    """One frame.

    Attributes:
        frame: The caller's own object.
        frame_id: Its number, from 1.
        read_at: When it was read from the source, seconds.
        message: How it is sent; None until it is encoded, and once it is answered.
        ready: Who was asked to look at it, and how; None until it is sent.
        answer: Its answer; None until there is one.
    """

    frame: FrameT
    frame_id: int
    read_at: float
    message: stream_pb2.StreamDetectRequest | None = None
    ready: StreamReady | None = None
    answer: StreamAnswer[FrameT] | None = None

    def settle(self, now: float, **outcome: Any) -> None:  # noqa: ANN401 - fields of StreamAnswer
        """Gives the frame its answer, of which `outcome` has the fields."""
        capture_time = self.frame.capture_time if isinstance(self.frame, StreamFrame) else None
        total_ms = (now - self.read_at) * 1e3
        self.answer = StreamAnswer(self.frame, self.frame_id, capture_time, total_ms=total_ms, **outcome)
        self.message = None


class FrameLedger(Generic[FrameT]):
    """Keeps account of the frames of one stream.

    Args:
        mode: Whether frames may be dropped.
        max_age_s: Age at which a waiting frame is dropped in mode "latest"; None for never.

    Attributes:
        credit: Frames that may be sent and unanswered at once.
    """

    def __init__(self, mode: Mode, max_age_s: float | None) -> None:
        self.credit = 0
        self._latest = mode == "latest"
        self._max_age_s = max_age_s
        self._last_frame_id = 0
        self._held: deque[Entry[FrameT]] = deque()  # all whose answer was not read, in order
        self._waiting: deque[Entry[FrameT]] = deque()
        self._taken: deque[Entry[FrameT]] = deque()
        self._sent: deque[Entry[FrameT]] = deque()

    @property
    def wants_more(self) -> bool:
        """Whether the source may be asked for another frame."""
        return len(self._held) < (MOST_HELD if self._latest else self.credit + ENCODED_AHEAD)

    @property
    def all_sent(self) -> bool:
        """Whether no frame is left to be sent."""
        return not self._waiting and not self._taken

    @property
    def all_answered(self) -> bool:
        """Whether every frame has its answer."""
        return self.all_sent and not self._sent

    @property
    def first_unanswered(self) -> Entry[FrameT] | None:
        """The frame that the server must answer next."""
        return self._sent[0] if self._sent else None

    def add(self, frame: FrameT, now: float) -> Entry[FrameT]:
        """Enters a frame, which waits from now on; in mode "latest" in the place of the one that waited."""
        self._last_frame_id += 1
        entry = Entry(frame, self._last_frame_id, now)
        if self._latest and self._waiting:
            self._drop(self._waiting.popleft(), "superseded", now)
        self._waiting.append(entry)
        self._held.append(entry)
        return entry

    def take(self, now: float) -> Entry[FrameT] | None:
        """The next frame to encode, if it is time for it; in mode "latest" those that have become stale are dropped."""
        if self._latest and self._max_age_s is not None:
            while self._waiting and now - self._waiting[0].read_at > self._max_age_s:
                self._drop(self._waiting.popleft(), "stale", now)
        if not self._waiting or not self._may_take():
            return None
        entry = self._waiting.popleft()
        self._taken.append(entry)
        return entry

    def next_to_send(self) -> tuple[Entry[FrameT], stream_pb2.StreamDetectRequest] | None:
        """The frame whose turn it is and its message, if it is encoded and the credit suffices."""
        if self._taken and len(self._sent) < self.credit and (message := self._taken[0].message) is not None:
            return self._taken[0], message
        return None

    def sent(self, ready: StreamReady) -> None:
        """Says that the frame whose turn it is was sent, and who was asked."""
        self._taken[0].ready = ready
        self._sent.append(self._taken.popleft())

    def encoded(self, entry: Entry[FrameT], message: stream_pb2.StreamDetectRequest) -> None:
        """Says how a frame is sent."""
        if entry.answer is None:
            entry.message = message

    def refuse(self, entry: Entry[FrameT], now: float, error: CallFailed) -> None:
        """Settles a frame that cannot be sent."""
        if entry.answer is None:
            (self._taken if entry in self._taken else self._waiting).remove(entry)
            entry.settle(now, error=error)

    def answered(self, now: float, **outcome: Any) -> None:  # noqa: ANN401 - as Entry.settle
        """Settles the frame that the server must answer next."""
        self._sent.popleft().settle(now, **outcome)

    def take_back(self, now: float) -> None:
        """Whatever was sent or taken waits again: its connection is lost."""
        self._waiting.extendleft(reversed([*self._sent, *self._taken]))
        self._sent.clear()
        self._taken.clear()
        while self._latest and len(self._waiting) > 1:
            self._drop(self._waiting.popleft(), "superseded", now)

    def read(self) -> StreamAnswer[FrameT] | None:
        """The next answer for the caller, if it is there; the frame leaves the ledger."""
        return self._held.popleft().answer if self._held and self._held[0].answer else None

    def _may_take(self) -> bool:
        if not self._latest:
            return len(self._taken) < ENCODED_AHEAD
        unread = sum(entry.answer is not None and entry.answer.dropped is None for entry in self._held)
        return not self._taken and len(self._sent) < self.credit and unread < MOST_UNREAD

    @staticmethod
    def _drop(entry: Entry[FrameT], reason: DropReason, now: float) -> None:
        entry.settle(now, dropped=reason)
