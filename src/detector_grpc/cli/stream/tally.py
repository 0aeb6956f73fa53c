"""What became of the frames of one source, in numbers."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detector_grpc.client import DetectionResult, StreamAnswer, StreamFrame

# What is shown of a stream that runs is what it did in these last seconds.
WINDOW_S = 2.0
# A server that answers nothing for so long is worth a word.
SILENCE_S = 3.0


class Tally:
    """Counts the answers of one source.

    Args:
        name: Name of the source.
        total: Number of frames that will come; None if nobody knows.

    Attributes:
        frames: Frames that were answered.
        found: Of these, those that were looked at.
        dropped: Of these, those that were dropped.
        errors: Of these, those that failed.
        state: In a few words, why nothing comes, or how it ended; empty while all is well.
        fault: Why the source as a whole failed, else why the last frame did; empty where nothing did.
        failed: Whether the source as a whole failed.
    """

    def __init__(self, name: str, total: int | None) -> None:
        self.name = name
        self.total = total
        self.frames = self.found = self.dropped = self.errors = 0
        self.state, self.fault, self.failed = "connecting", "", False
        self._identities: Counter[str] = Counter()
        self._last_track_id = 0
        self._ages_ms: deque[tuple[float, float]] = deque()
        self._sum_ages_ms = 0.0
        self._began_at = self._heard_at = time.monotonic()
        self._ended = False

    def begin(self) -> None:
        """Says that a server takes frames."""
        self.state = ""
        self._began_at = self._heard_at = time.monotonic()

    def count(self, answer: StreamAnswer[StreamFrame]) -> None:
        """Counts an answer."""
        self._heard_at = now = time.monotonic()
        self.frames += 1
        self.dropped += answer.dropped is not None
        if answer.error is not None:
            self.errors += 1
            self.fault = str(answer.error)
        if answer.result is not None:
            self.found += 1
            self._sum_ages_ms += answer.total_ms
            self._ages_ms.append((now, answer.total_ms))
            self._count_identities(answer.result)
        while self._ages_ms and self._ages_ms[0][0] < now - WINDOW_S:
            self._ages_ms.popleft()

    def end(self, state: str) -> None:
        """Says how it ended; from now on rates are those of the whole."""
        self.state, self._ended = state, True

    def fail(self, fault: str) -> None:
        """Says that nothing more will come."""
        self.fault, self.failed = fault, True
        self.end("failed")

    @property
    def fps(self) -> float:
        """Frames per second that were looked at."""
        if self._ended:
            return self.found / max(self._heard_at - self._began_at, 1e-3)
        now = time.monotonic()
        recent = sum(at >= now - WINDOW_S for at, _ in self._ages_ms)
        return recent / min(max(now - self._began_at, 1.0), WINDOW_S)

    @property
    def age_ms(self) -> float | None:
        """Mean time from reading a frame to its result; None without results."""
        if self._ended:
            return self._sum_ages_ms / self.found if self.found else None
        ages_ms = [age_ms for _, age_ms in self._ages_ms]
        return sum(ages_ms) / len(ages_ms) if ages_ms else None

    @property
    def silence_s(self) -> float:
        """Time without an answer, in seconds, if that is unusual; else 0."""
        silence_s = time.monotonic() - self._heard_at
        return 0.0 if self._ended or self.state or silence_s < SILENCE_S else silence_s

    @property
    def identities(self) -> dict[str, int]:
        """Number of objects that were followed, by class, most numerous first."""
        return dict(self._identities.most_common())

    def _count_identities(self, result: DetectionResult) -> None:
        """Counts those that are new, which are higher than all before."""
        track_ids = [track_id or 0 for track_id in result.track_id]
        self._identities.update(
            name for name, track_id in zip(result.class_name, track_ids, strict=True) if track_id > self._last_track_id
        )
        self._last_track_id = max([self._last_track_id, *track_ids])
