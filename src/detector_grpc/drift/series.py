"""Observations of one world in the order in which they come: learned from first, then judged block by block."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.drift.block import Block
from detector_grpc.drift.evidence import DriftState, Evidence
from detector_grpc.drift.expectation import Deviation, Expectation
from detector_grpc.drift.reference import HOURS, MIN_BLOCKS, Days, Reference, of_blocks

if TYPE_CHECKING:
    from detector_grpc.drift.observation import Observation

# Parts of a series that change at different times; of `DAYS` there is one for each hour, which follows.
STATE, PENDING, WINDOW, REFERENCE, DAYS = "state", "pending", "window", "reference", "days/"

# What a block is compared with is chosen anew when the time of day has moved on by so much.
_SLOT_S = 900.0


class Shape(NamedTuple):
    """How a series is cut into blocks.

    Attributes:
        block: Observations in a block.
        first: Blocks that become the first reference; at least `MIN_BLOCKS`.
        hourly: Blocks that are kept of every hour of the day.
        window: Blocks that are kept to be looked at.
        learn_days_s: Seconds from the first reference until one of all hours takes its place; 0: never.
    """

    block: int = 100
    first: int = 20
    hourly: int = 8
    window: int = 5
    learn_days_s: float = 2 * 86400.0


class Series:
    """Not safe for several threads at once.

    Args:
        shape: How it is cut.

    Attributes:
        reference: What it is compared with; None while it is learned.
        pending: Observations that are no block yet.
        window: Blocks of late.
        days: Blocks that are collected for a reference of all hours; None: nobody collects.
        evidence: Of change.
        deviations: Of the latest block, by the name of the feature.
        state: What all of it amounts to.
        since_s: Since when, seconds since the epoch.
        blocks: How many there have been.
        changed: Parts that differ from what was last written.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._rng = random.Random(0)  # noqa: S311 - what is kept of an hour is no secret
        self._expectation: tuple[float, Expectation] | None = None
        self.reference: Reference | None = None
        self.pending: list[Observation] = []
        self.window: deque[Block] = deque(maxlen=max(shape.window, shape.first))
        self.days: Days | None = None
        self.evidence = Evidence()
        self.deviations: dict[str, Deviation] = {}
        self.state = DriftState.LEARNING
        self.since_s = 0.0
        self.blocks = 0
        self.changed: set[str] = {STATE}

    def add(self, observation: Observation, now_s: float) -> bool:
        """Takes an observation in; whether it completed a block.

        Args:
            observation: The next one.
            now_s: Now, seconds since the epoch.
        """
        self.since_s = self.since_s or now_s
        self.pending.append(observation)
        self.changed.add(PENDING)
        if len(self.pending) < self._shape.block:
            return False
        block = Block.of(self.pending, now_s)
        self.pending = []
        self.blocks += 1
        self.window.append(block)
        self.changed |= {STATE, WINDOW}
        if self.reference is None:
            self._learn(now_s)
        else:
            self._judge(block, self.reference)
        return True

    def use(self, reference: Reference) -> None:
        """Compares with this from now on, and forgets what was thought of the world before."""
        self.reference, self._expectation = reference, None
        self.evidence, self.deviations = Evidence(), {}
        self.changed |= {STATE, REFERENCE}
        self._become(DriftState.STABLE, reference.made_at_s)

    @property
    def recent(self) -> list[Block]:
        """The blocks of late that are looked at."""
        return list(self.window)[-self._shape.window :]

    @property
    def wanted(self) -> int:
        """Observations that become the first reference."""
        return self._shape.first * self._shape.block

    def learn(self) -> None:
        """Forgets the reference, and learns a new one from what comes."""
        self.reference, self.days, self._expectation = None, None, None
        self.evidence, self.deviations = Evidence(), {}
        self.window.clear()
        self.changed |= {STATE, WINDOW, REFERENCE, *(f"{DAYS}{hour}" for hour in range(HOURS))}
        self._become(DriftState.LEARNING, self.since_s)

    def expectation(self, at_s: float) -> Expectation | None:
        """What blocks of this time are expected to be like; None while it is learned."""
        if self.reference is None:
            return None
        slot = at_s // _SLOT_S if self.reference.daily else 0.0
        if self._expectation is None or self._expectation[0] != slot:
            self._expectation = slot, Expectation(self.reference.near(at_s))
        return self._expectation[1]

    def _learn(self, now_s: float) -> None:
        if len(self.window) < self._shape.first:
            return
        blocks = list(self.window)[-self._shape.first :]
        source, timeless = f"first {of_blocks(blocks)} observations", not self._shape.learn_days_s
        self.use(Reference(blocks, source, now_s, timeless=timeless))
        if self._shape.learn_days_s:
            self.days = Days(now_s)
            for block in blocks:
                self._collect(self.days, block)

    def _judge(self, block: Block, reference: Reference) -> None:
        expectation = self.expectation(block.at_s)
        if expectation is None:
            return
        self.deviations = expectation.deviations(block)
        known = reference.knows(block.at_s)
        state = self.evidence.add(self.deviations, DriftState.DRIFTED if known else DriftState.WARNING)
        self._become(state, block.at_s)
        if self.days is not None and not (known and state is DriftState.DRIFTED):
            self._collect(self.days, block)
        if (
            self.days is not None
            and self.days.covered_s >= self._shape.learn_days_s
            and state is not DriftState.DRIFTED
        ):
            self._use_days(self.days, block.at_s)

    def _collect(self, days: Days, block: Block) -> None:
        self.changed.add(f"{DAYS}{days.add(block, self._shape.hourly, self._rng)}")

    def _use_days(self, days: Days, now_s: float) -> None:
        """Goes over to a reference of all hours, if it is one."""
        blocks, self.days = days.blocks(), None
        self.changed |= {f"{DAYS}{hour}" for hour in days.kept}
        if len(blocks) >= MIN_BLOCKS:
            self.use(
                Reference(blocks, f"{of_blocks(blocks)} observations of {len(days.kept)} hours", now_s, daily=True)
            )

    def _become(self, state: DriftState, at_s: float) -> None:
        if state is not self.state:
            self.state, self.since_s = state, at_s
