"""What holds for bytes in every sequence of asking, leaving and giving back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from detector_grpc.serving.budget import Shares

if TYPE_CHECKING:
    from detector_grpc.serving.budget import ByteBudget

LARGEST = 4
WHOLE = (8, 6, 4)  # each is part of the one before


@dataclass
class Ask:
    share: int
    size: int
    waits: bool


@dataclass
class Leave:
    which: int


@dataclass
class GiveBack:
    which: int


@dataclass
class Turn:
    """Lets the loop run once: leaving and getting may fall into the same turn, or not."""


steps = st.lists(
    st.one_of(
        st.builds(Ask, st.integers(0, 2), st.integers(0, LARGEST), st.booleans()),
        st.builds(Leave, st.integers(0, 30)),
        st.builds(GiveBack, st.integers(0, 30)),
        st.just(Turn()),
    ),
    min_size=20,  # of lists without a least size most are too short for anybody to have to wait
    max_size=60,
)


class World:
    """Shares, who waits for some of them, and who has some."""

    def __init__(self) -> None:
        self.shares = Shares.of(WHOLE[0], LARGEST)
        self.asking: list[tuple[asyncio.Task[None], Ask]] = []
        self.held: list[Ask] = []

    def share(self, ask: Ask) -> ByteBudget:
        return self.shares[ask.share]

    async def take(self, step: object) -> None:
        match step:
            case Ask(_, size, waits=True):
                self.asking.append((asyncio.create_task(self.share(step).reserve(size)), step))
            case Ask(_, size):
                if self.share(step).try_reserve(size):
                    self.held.append(step)
            case Leave(which) if self.asking:
                self.asking[which % len(self.asking)][0].cancel()
            case GiveBack(which) if self.held:
                ask = self.held.pop(which % len(self.held))
                self.share(ask).release(ask.size)
            case Turn():
                await asyncio.sleep(0)
        self.settle()

    def settle(self) -> None:
        """Those who have got what they asked for hold it now."""
        self.held += [ask for task, ask in self.asking if task.done() and not task.cancelled()]
        self.asking = [(task, ask) for task, ask in self.asking if not task.done()]
        for share, most in enumerate(WHOLE):
            assert sum(ask.size for ask in self.held if ask.share >= share) <= most

    async def give_back_until_nobody_waits(self) -> None:
        """Whoever waits gets what he asked for when all others have given back."""
        while self.held or self.asking:
            waiting = len(self.asking)
            while self.held:
                await self.take(GiveBack(0))
            for _ in range(5):
                await self.take(Turn())
            assert self.held or len(self.asking) < waiting or not waiting


async def play(script: list[object]) -> None:
    world = World()
    for step in script:
        await world.take(step)
    await world.give_back_until_nobody_waits()
    for share, whole in zip(world.shares, WHOLE, strict=True):
        assert share.try_reserve(whole)  # nothing is lost
        assert not share.try_reserve(1)  # and nothing is there twice
        share.release(whole)


@given(steps)
def test_no_byte_is_lost_or_given_twice_and_nobody_waits_for_ever(script: list[object]) -> None:
    asyncio.run(play(script))
