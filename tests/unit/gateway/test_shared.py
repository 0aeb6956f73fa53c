from __future__ import annotations

import asyncio

import pytest

from detector_grpc.gateway.shared import Shared


class Counting:
    """Finds the number of times that it was asked, once it may."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()

    async def __call__(self) -> int:
        self.asked += 1
        await self.may_answer.wait()
        return self.asked


async def test_a_crowd_is_answered_by_one_finding() -> None:
    find = Counting()
    shared = Shared(find)

    crowd = [asyncio.create_task(shared()) for _ in range(10)]
    await asyncio.sleep(0)
    find.may_answer.set()

    assert await asyncio.gather(*crowd) == [1] * 10


async def test_who_comes_later_gets_a_new_answer() -> None:
    find = Counting()
    find.may_answer.set()
    shared = Shared(find)

    assert [await shared(), await shared()] == [1, 2]


async def test_who_leaves_takes_the_answer_from_nobody() -> None:
    find = Counting()
    shared = Shared(find)

    leaving, staying = asyncio.create_task(shared()), asyncio.create_task(shared())
    await asyncio.sleep(0)
    leaving.cancel()
    find.may_answer.set()

    assert await staying == 1
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_failure_is_not_kept() -> None:
    answers = iter([ValueError("first"), None])

    async def find() -> str:
        await asyncio.sleep(0)
        if error := next(answers):
            raise error
        return "second"

    shared = Shared(find)

    with pytest.raises(ValueError, match="first"):
        await shared()
    assert await shared() == "second"
