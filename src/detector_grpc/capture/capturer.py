"""Decides on pictures that may be worth keeping, and keeps them, on a thread of its own."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.capture.ledger import Origin, Verdict
from detector_grpc.capture.metrics import CAPTURED
from detector_grpc.capture.pace import Pace
from detector_grpc.capture.sinks.folder import disk_fault
from detector_grpc.errors import ImageError
from detector_grpc.serving.cpu import WORK, stand_back

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from detector_grpc.capture.gate import Gate
    from detector_grpc.capture.ledger import Ledger
    from detector_grpc.capture.maker import Maker
    from detector_grpc.capture.metrics import CaptureMetrics
    from detector_grpc.capture.spool import Spool
    from detector_grpc.serving.outcome import Outcome

log = logging.getLogger(__name__)

# Of pictures that wait to be decided on.
MAX_WAITING = 32
MAX_WAITING_BYTES = 64 * 1024 * 1024

_WANTED = "see that DETECTOR_CAPTURE_STATE is a folder that can be written and has room"

# Between two lines of the log that say that the same is wrong.
_TELL_EVERY_S = 600.0


class Candidate(NamedTuple):
    """A picture that may be worth keeping.

    Attributes:
        outcome: What became of it; with a request and a result.
        stream: What it is a frame of; empty for none.
        reasons: Why it may be.
        signals: What was found beside its uncertainty, by name.
    """

    outcome: Outcome
    stream: str
    reasons: tuple[str, ...]
    signals: Mapping[str, float]

    @property
    def size_bytes(self) -> int:
        """Of the picture as it was sent."""
        request = self.outcome.request
        return 0 if request is None else len(request.image.data)


class Capturer:
    """Takes candidates from the event loop, and does with them what takes time.

    Args:
        ledger: What is worth keeping; used by the thread alone.
        maker: Makes samples.
        spool: Keeps them.
        gate: Closed while the budget is used up.
        metrics: Told what becomes of candidates.
        max_picture_bytes: Largest picture that is kept.
        on_captured: Called when one was kept.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        ledger: Ledger,
        maker: Maker,
        spool: Spool,
        gate: Gate,
        metrics: CaptureMetrics,
        max_picture_bytes: int,
        on_captured: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._maker = maker
        self._spool = spool
        self._gate = gate
        self._metrics = metrics
        self._max_picture_bytes = max_picture_bytes
        self._on_captured = on_captured
        self._clock = clock
        self._told_at: dict[str, float] = {}
        self._clock_steps = 0
        self._waiting: deque[Candidate] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def take(self, candidate: Candidate) -> bool:
        """Has a candidate decided on, later; False where too many wait."""
        with self._changed:
            bytes_then = self._waiting_bytes + candidate.size_bytes
            if len(self._waiting) >= MAX_WAITING or bytes_then > MAX_WAITING_BYTES:
                return False
            self._waiting.append(candidate)
            self._waiting_bytes = bytes_then
            self._changed.notify()
        return True

    def stop(self, patience_s: float) -> None:
        """Decides on what waits, for at most so many seconds, and ends."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(patience_s)

    def decide(self, candidate: Candidate) -> str:
        """Keeps a candidate if it is worth it; what became of it, in a word of metrics.OUTCOMES."""
        call, request = candidate.outcome.call, candidate.outcome.request
        assert request is not None  # noqa: S101 - for mypy
        if candidate.size_bytes > self._max_picture_bytes:
            self._fail(
                "too_large",
                f"a picture of {candidate.size_bytes} bytes is not kept, the limit is {self._max_picture_bytes}: raise "
                "DETECTOR_CAPTURE_MAX_PICTURE_BYTES if such pictures matter",
            )
            return "too_large"
        self._spool.open()
        now = self._clock()
        origin = Origin(call.model, call.version, candidate.stream, call.request_id)
        admission = self._ledger.admit(origin, self._maker.fingerprint(request.image), now)
        if self._ledger.clock_steps > self._clock_steps:
            self._clock_steps = self._ledger.clock_steps
            self._metrics.failed("clock")
        if admission.entry is None:
            if admission.verdict is Verdict.OVER_BUDGET and not admission.of_stream:
                self._gate.close(admission.wait_s)
            return admission.verdict.value
        try:
            self._spool.add(self._maker.sample(candidate.outcome, candidate.reasons, candidate.signals, now))
        except BaseException:
            self._ledger.forget(admission.entry)
            raise
        return CAPTURED

    def _run(self) -> None:
        stand_back(WORK)
        pace = Pace()
        while (candidate := self._next()) is not None:
            call = candidate.outcome.call
            became = self._decided(candidate)
            del candidate  # its picture
            self._metrics.became(call.model, call.version, became)
            if became == CAPTURED:
                self._on_captured()
            self._rest(pace.rest_s())
        self._ledger.close()

    def _next(self) -> Candidate | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            if not self._waiting:
                return None
            candidate = self._waiting.popleft()
            self._waiting_bytes -= candidate.size_bytes
        return candidate

    def _rest(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, seconds)

    def _decided(self, candidate: Candidate) -> str:
        try:
            return self.decide(candidate)
        except OSError as error:
            fault, advice = disk_fault(error)
            self._fail(fault, f"no sample is kept: {advice}")
        except sqlite3.Error as error:
            self._fail("ledger", f"no sample is kept: {error}; {_WANTED}")
        except ImageError as error:
            self._fail("undecodable", f"a picture is not kept: {error}")
        except Exception:
            self._metrics.failed("unexpected")
            log.exception("a picture could not be kept")
        return "failed"

    def _fail(self, fault: str, message: str) -> None:
        """Counts what went wrong, and says it, but not again and again."""
        self._metrics.failed(fault)
        now = time.monotonic()
        if now >= self._told_at.get(fault, -inf) + _TELL_EVERY_S:
            self._told_at[fault] = now
            log.warning("%s", message, extra={"fault": fault})
