"""Observations of one world in the order in which they come: learned from first, then judged block by block."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.drift.block import BLOCK, DAY_S, Block, are_comparable
from detector_grpc.drift.evidence import DriftState, Evidence
from detector_grpc.drift.expectation import Deviation, Expectation
from detector_grpc.drift.reference import Days, Reference, of_blocks

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

    block: int = BLOCK
    first: int = 20
    hourly: int = 8
    window: int = 5
    learn_days_s: float = 2 * DAY_S


class Series:
    """Not safe for several threads at once.

    Args:
        shape: How it is cut.

    Attributes:
        shape: How it is cut.
        reference: What it is compared with; None while it is learned.
        pending: Observations that are no block yet.
        window: Blocks of late.
        days: Blocks that are collected for a reference of all hours; None: nobody collects.
        evidence: Of change.
        deviations: Of the latest block, by the name of the feature.
        state: What all of it amounts to.
        since_s: Since when, seconds since the epoch.
        since_block: Number of the block that brought it, from 1.
        latest_s: When the latest observation came, seconds since the epoch; 0: never.
        blocks: How many there have been.
        changed: Parts that differ from what was last written.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
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
        self.since_block = 0
        self.latest_s = 0.0
        self.blocks = 0
        self.changed: set[str] = {STATE}

    def add(self, observation: Observation, now_s: float) -> bool:
        """Takes an observation in; whether it completed a block.

        Args:
            observation: The next one.
            now_s: Now, seconds since the epoch.
        """
        self.since_s, self.latest_s = self.since_s or now_s, now_s
        self.pending.append(observation)
        self.changed.add(PENDING)
        if len(self.pending) < self.shape.block:
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

    def use(self, reference: Reference, now_s: float) -> None:
        """Compares with this from now on, and forgets what was thought of the world before.

        What does not tell of all hours gives way to a reference that does, which is collected from now on.
        """
        self.reference, self._expectation = reference, None
        self.evidence, self.deviations = Evidence(), {}
        self.changed |= {STATE, REFERENCE}
        days = None
        if self.shape.learn_days_s and not (reference.daily or reference.timeless):
            days = Days(reference.blocks[0].at_s)
            for block in reference.blocks:
                days.cover(block.at_s)
                days.add(block, self.shape.hourly, self._rng)
            days.latest_s = now_s
        self._collect_for(days)
        self._become(DriftState.STABLE, now_s)

    @property
    def recent(self) -> list[Block]:
        """The blocks of late that are looked at."""
        return list(self.window)[-self.shape.window :]

    @property
    def has_changed(self) -> bool:
        """Whether it is not as its reference."""
        return self.state in (DriftState.WARNING, DriftState.DRIFTED)

    @property
    def like_now(self) -> list[Block]:
        """The blocks of late; where the world has changed, those since then."""
        return list(self.window)[-(self.blocks - self.since_block + 1) if self.has_changed else 0 :]

    @property
    def wanted(self) -> int:
        """Observations that become the first reference."""
        return self.shape.first * self.shape.block

    def learn(self, now_s: float) -> None:
        """Forgets the reference, and learns a new one from what comes."""
        self.reference, self._expectation = None, None
        self.evidence, self.deviations = Evidence(), {}
        self.window.clear()
        self.pending = []
        self.changed |= {STATE, PENDING, WINDOW, REFERENCE}
        self._collect_for(None)
        self._become(DriftState.LEARNING, now_s)

    def expectation(self, at_s: float) -> Expectation | None:
        """What blocks of this time are expected to be like; None while it is learned."""
        if self.reference is None:
            return None
        slot = at_s // _SLOT_S if self.reference.daily else 0.0
        if self._expectation is None or self._expectation[0] != slot:
            self._expectation = slot, Expectation(self.reference.near(at_s))
        return self._expectation[1]

    def _learn(self, now_s: float) -> None:
        blocks = list(self.window)[-self.shape.first :]
        if len(blocks) < self.shape.first or not are_comparable(blocks):
            return
        source, timeless = f"first {of_blocks(blocks)} observations", not self.shape.learn_days_s
        self.use(Reference(blocks, source, now_s, timeless=timeless), now_s)

    def _judge(self, block: Block, reference: Reference) -> None:
        expectation = self.expectation(block.at_s)
        if expectation is None:
            return
        self.deviations = expectation.deviations(block)
        known = reference.knows(block.at_s)
        state = self.evidence.add(self.deviations, DriftState.DRIFTED if known else DriftState.WARNING)
        self._become(state, block.at_s)
        if self.days is None:
            return
        if not (known and state is DriftState.DRIFTED):
            self.days.cover(block.at_s)
            self.changed.add(f"{DAYS}{self.days.add(block, self.shape.hourly, self._rng)}")
        if self.days.covered_s >= self.shape.learn_days_s and state is not DriftState.DRIFTED:
            self._use_days(self.days, block.at_s)

    def _collect_for(self, days: Days | None) -> None:
        hours = {hour for each in (self.days, days) if each is not None for hour in each.kept}
        self.changed |= {f"{DAYS}{hour}" for hour in hours}
        self.days = days

    def _use_days(self, days: Days, now_s: float) -> None:
        """Goes over to a reference of all hours."""
        blocks = days.blocks()
        source = f"{of_blocks(blocks)} observations of {len(days.kept)} hours"
        self.use(Reference(blocks, source, now_s, daily=True), now_s)

    def _become(self, state: DriftState, at_s: float) -> None:
        if state is not self.state:
            self.state, self.since_s, self.since_block = state, at_s, self.blocks
