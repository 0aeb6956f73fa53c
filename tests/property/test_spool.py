"""No sample is lost without being counted, whatever happens in whatever order."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from datetime import timedelta
from itertools import count
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.samples import NOON, sample

from detector_grpc.capture.sample import Doubt
from detector_grpc.capture.spool import Spool, SpoolLimits, samples_in

SIZE = 700
LIMITS = SpoolLimits(6 * SIZE, 100.0, "surest")
PROCESSES = 3


class Spools(RuleBasedStateMachine):
    """Several processes add, read, bring, die without a word, and find what others have left."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.now_s = NOON.timestamp()
        self.numbers = count()
        self.added = 0
        self.brought: list[bytes] = []
        self.lost_before = 0
        self.spools = [self._spool() for _ in range(PROCESSES)]

    def _spool(self) -> Spool:
        spool = Spool(self.folder / "sink", LIMITS, lambda: self.now_s)
        spool.open()
        return spool

    @rule(process=st.integers(0, PROCESSES - 1), score=st.floats(0, 1), size=st.integers(1, 300))
    def add(self, process: int, score: float, size: int) -> None:
        self.now_s += 1
        picture = b"%06d" % next(self.numbers) + b"." * size
        at = NOON + timedelta(seconds=self.now_s - NOON.timestamp())
        self.spools[process].add(sample(picture, captured_at=at, uncertainty=Doubt(score=score, driver="margin")))
        self.added += 1

    @rule(process=st.integers(0, PROCESSES - 1))
    def bring(self, process: int) -> None:
        spool = self.spools[process]
        name = spool.oldest(set())
        if name is not None:
            with spool.reading(name) as read:
                self.brought += [read.picture] if read else []
            spool.remove(name)

    @rule(process=st.integers(0, PROCESSES - 1))
    def bring_and_die_before_it_is_removed(self, process: int) -> None:
        spool = self.spools[process]
        name = spool.oldest(set())
        if name is not None:
            with spool.reading(name) as read:
                self.brought += [read.picture] if read else []
        self.die(process)

    @rule(process=st.integers(0, PROCESSES - 1))
    def die(self, process: int) -> None:
        """The kernel lets go of the lock, and nothing else happens."""
        spool = self.spools[process]
        self.lost_before += spool.lost.total()
        spool._lock.close()
        self.spools[process] = self._spool()

    @rule(process=st.integers(0, PROCESSES - 1))
    def adopt(self, process: int) -> None:
        self.spools[process].adopt()

    @rule(process=st.integers(0, PROCESSES - 1), seconds=st.integers(0, 60))
    def wait(self, process: int, seconds: int) -> None:
        self.now_s += seconds
        self.spools[process].forget_old()

    @invariant()
    def each_is_within_its_bounds(self) -> None:
        assert all(spool.size_bytes <= LIMITS.max_bytes for spool in self.spools)

    @invariant()
    def every_sample_waits_or_was_brought_or_is_counted_as_lost(self) -> None:
        waiting = len(list(samples_in(self.folder)))
        lost = self.lost_before + sum(spool.lost.total() for spool in self.spools)
        assert self.added <= waiting + len(set(self.brought)) + lost
        assert waiting + lost <= self.added

    @invariant()
    def what_is_known_is_what_is_there(self) -> None:
        for spool in self.spools:
            assert spool._own is not None
            files = {path.name: path.stat().st_size for path in spool._own.iterdir()}
            assert files.keys() == spool._waiting._entries.keys()
            assert spool.size_bytes == sum(files.values())

    def teardown(self) -> None:
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder)
            for spool in self.spools:
                stack.callback(spool.close)


TestSpools = Spools.TestCase
TestSpools.settings = settings(max_examples=25, stateful_step_count=30)
