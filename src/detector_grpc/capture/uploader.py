"""Brings what waits in the spool to the sink, on a thread of its own: again and again, until it is there.

A sample leaves the spool when the sink has it, so one is brought twice where a process dies in between; in the sink it
has the same key then, and is there once. What the sink refuses is tried again, with pauses that double, sample by
sample in turn, so that one that is never taken keeps no other from its way.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.capture.pace import Pace
from detector_grpc.capture.sinks.folder import disk_fault
from detector_grpc.capture.sinks.sink import SinkError, delete_sample, put_readme, put_sample
from detector_grpc.serving.cpu import WORK, stand_back

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector_grpc.capture.metrics import CaptureMetrics
    from detector_grpc.capture.sinks.sink import Sink
    from detector_grpc.capture.spool import Spool

log = logging.getLogger(__name__)

# Between two looks for spools of processes that have died, and for samples that have become too old.
_TIDY_EVERY_S = 30.0


class Pauses(NamedTuple):
    """Seconds between attempts that fail.

    Attributes:
        first_s: After the first.
        most_s: At most; before, twice as long each time.
    """

    first_s: float
    most_s: float


PAUSES = Pauses(first_s=1.0, most_s=300.0)


class Uploader:
    """Empties one spool.

    Args:
        spool: What waits; opened here, as soon as that can be.
        sink: Where it goes.
        metrics: Told what becomes of samples.
        pauses: Between attempts that fail.
        chance: Numbers in [0, 1), by which pauses differ, so that those who failed together do not come together.
    """

    def __init__(
        self,
        spool: Spool,
        sink: Sink,
        metrics: CaptureMetrics,
        pauses: Pauses = PAUSES,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._spool = spool
        self._sink = sink
        self._metrics = metrics
        self._pauses = pauses
        self._chance = chance
        self._tried: set[str] = set()
        self._failures = 0
        self._fault = ""
        self._told_who_looks = False
        self._tidy_at = 0.0
        self._woken = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="upload", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def wake(self) -> None:
        """To be called when a sample was added."""
        self._woken.set()

    def stop(self, patience_s: float) -> None:
        """Brings what the sink takes in so many seconds, and ends; what waits then stays in the spool."""
        self._stopping = True
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(patience_s)
        self._spool.close()

    def step(self) -> float | None:
        """Brings one sample, or tries to; seconds until the next one is to be tried, None until there is one."""
        try:
            self._spool.open()
            if time.monotonic() >= self._tidy_at:
                self._tidy_at = time.monotonic() + _TIDY_EVERY_S
                self._spool.adopt()
                self._spool.forget_old()
            return self._bring_next()
        except OSError as error:
            fault, advice = disk_fault(error)
            return self._fail(fault, f"samples cannot be kept: {advice}")

    def _bring_next(self) -> float | None:
        name = self._spool.oldest(self._tried)
        if name is None and self._tried:
            self._tried.clear()
            name = self._spool.oldest(self._tried)
        if name is None:
            return None
        try:
            is_new = bring(self._spool, self._sink, name)
            if is_new is not None and not self._told_who_looks:
                put_readme(self._sink)
                self._told_who_looks = True
        except SinkError as error:
            self._tried.add(name)
            return self._fail(error.fault, error.advice)
        except OSError as error:
            self._tried.add(name)
            fault, advice = disk_fault(error)
            return self._fail(fault, f"one cannot be read: {advice}")
        if is_new is not None:
            self._metrics.uploaded(is_new=is_new)
            self._succeed()
        return 0.0

    def _run(self) -> None:
        stand_back(WORK)
        pace = Pace()
        while True:
            self._woken.clear()
            try:
                wait_s = self.step()
            except Exception:
                log.exception("bringing samples to their sink failed")
                wait_s = self._pauses.most_s
            if wait_s != 0 and self._stopping:
                return
            if wait_s is None:
                self._woken.wait(_TIDY_EVERY_S)
            else:
                self._pause(wait_s + pace.rest_s())

    def _pause(self, seconds: float) -> None:
        """Waits, however many samples are added meanwhile."""
        until = time.monotonic() + seconds
        while not self._stopping and (left_s := until - time.monotonic()) > 0:
            self._woken.wait(left_s)
            self._woken.clear()

    def _fail(self, fault: str, advice: str) -> float:
        self._metrics.failed(fault)
        if fault != self._fault:
            self._fault = fault
            log.warning("samples wait on this machine: %s", advice, extra={"fault": fault, "waiting": len(self._spool)})
        pause_s = min(self._pauses.most_s, self._pauses.first_s * 2.0**self._failures)
        self._failures = min(self._failures + 1, 30)
        return pause_s * (0.5 + self._chance() / 2)

    def _succeed(self) -> None:
        if self._fault:
            log.info("samples reach their sink again", extra={"sink": self._sink.place, "waiting": len(self._spool)})
        self._fault, self._failures = "", 0


def bring(spool: Spool, sink: Sink, name: str) -> bool | None:
    """Brings a sample to a sink, and removes it from its spool.

    Returns:
        Whether it is new there; None where there was nothing to bring.

    Raises:
        SinkError: The sink did not take it; it stays in the spool.
        OSError: It cannot be read.
    """
    with spool.reading(name) as sample:
        if sample is None:
            return None
        is_new: bool | None = put_sample(sink, sample)
        if spool.was_erased(name):  # in the sink, too, but maybe before it was there
            delete_sample(sink, sample.sidecar)
            is_new = None
    spool.remove(name)
    return is_new
