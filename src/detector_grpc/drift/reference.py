"""What a world is used to be like: blocks of observations, and the times of day that they tell of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.drift.block import BLOCK, DAY_S, Block, apart_s

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

HOUR_S = 3600.0

# So many blocks are needed, or the spread between blocks says nothing.
MIN_BLOCKS = 8

# Observations that a reference of a version has at least.
NEEDED = MIN_BLOCKS * BLOCK


class Summary(NamedTuple):
    """What people are told of a reference.

    Attributes:
        source: As of Reference.
        made_at_s: As of Reference.
        observations: How many it has.
        daily: As of Reference.
    """

    source: str
    made_at_s: float
    observations: int
    daily: bool


@dataclass(frozen=True)
class Reference:
    """What blocks are compared with.

    Attributes:
        blocks: In the order of time; at least `MIN_BLOCKS`, of equal size.
        source: Where they come from, e.g. "first 1000 observations".
        made_at_s: When they were put together, seconds since the epoch.
        daily: Whether they tell of a whole day; otherwise, of the times of day that they come from.
        timeless: Whether they tell of every time of day alike, e.g. since they are pictures from a folder.
    """

    blocks: Sequence[Block]
    source: str
    made_at_s: float
    daily: bool = False
    timeless: bool = False

    def near(self, at_s: float) -> Sequence[Block]:
        """The blocks that a block of this time is compared with: those within an hour of its time of day, if daily."""
        if not self.daily:
            return self.blocks
        near = [block for block in self.blocks if apart_s(block.at_s, at_s) <= HOUR_S]
        return near if len(near) >= MIN_BLOCKS else self.blocks

    def knows(self, at_s: float) -> bool:
        """Whether it tells of this time of day."""
        return self.timeless or any(apart_s(block.at_s, at_s) <= HOUR_S for block in self.blocks)


@dataclass
class Days:
    """Blocks that are collected over days, to become a reference of all hours: for each hour so many by chance.

    Attributes:
        latest_s: Until when they were collected, seconds since the epoch.
        covered_s: Seconds over which they were collected. A clock that jumps adds at most a day.
        kept: Blocks by the hour of the day, UTC.
        seen: How many there were to choose from, by hour.
    """

    latest_s: float
    covered_s: float = 0.0
    kept: dict[int, list[Block]] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)

    def cover(self, at_s: float) -> None:
        """Says that they have been collected until now."""
        self.covered_s += min(max(at_s - self.latest_s, 0.0), DAY_S)
        self.latest_s = at_s

    def add(self, block: Block, most: int, rng: random.Random) -> int:
        """Keeps a block, in the place of another one by chance if there are `most` of its hour (Vitter 1985, R).

        Returns:
            Its hour.
        """
        hour = int(block.at_s % DAY_S // HOUR_S)
        kept = self.kept.setdefault(hour, [])
        self.seen[hour] = seen = self.seen.get(hour, 0) + 1
        if len(kept) < most:
            kept.append(block)
        elif (place := rng.randrange(seen)) < most:
            kept[place] = block
        return hour

    def blocks(self) -> list[Block]:
        """All that were kept, in the order of time."""
        return sorted((block for kept in self.kept.values() for block in kept), key=lambda block: block.at_s)


def summary(of: Reference | None) -> Summary | None:
    """What people are told of a reference, if there is one."""
    return None if of is None else Summary(of.source, of.made_at_s, of_blocks(of.blocks), of.daily)


def of_blocks(blocks: Iterable[Block]) -> int:
    """Number of observations in them."""
    return sum(map(len, blocks))
