"""Bytes are given out in the order of asking, and none is lost."""

from __future__ import annotations

import asyncio

from detector_grpc.serving.budget import ByteBudget


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def asking(budget: ByteBudget, *sizes: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(budget.reserve(size)) for size in sizes]
    await turn()
    return tasks


def got(tasks: list[asyncio.Task[None]]) -> list[bool]:
    return [task.done() and not task.cancelled() for task in tasks]


async def leave(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_free_bytes_are_given_at_once_up_to_the_last() -> None:
    budget = ByteBudget(10)
    tasks = await asking(budget, 4, 6, 0, 1)
    assert got(tasks) == [True, True, True, False]
    await leave(*tasks)


async def test_released_bytes_wake_those_who_wait_in_the_order_of_asking() -> None:
    budget = ByteBudget(10)
    await budget.reserve(10)
    tasks = await asking(budget, 6, 5, 4)
    assert got(tasks) == [False, False, False]
    budget.release(6)
    await turn()
    assert got(tasks) == [True, False, False]
    budget.release(4)
    await turn()
    assert got(tasks) == [True, False, False]  # 4 are free, and are not for the one behind
    budget.release(6)
    await turn()
    assert got(tasks) == [True, True, True]


async def test_one_release_may_wake_several() -> None:
    budget = ByteBudget(10)
    await budget.reserve(10)
    tasks = await asking(budget, 3, 3, 3, 3)
    budget.release(10)
    await turn()
    assert got(tasks) == [True, True, True, False]
    await leave(*tasks)


async def test_nobody_overtakes_those_who_wait() -> None:
    budget = ByteBudget(10)
    await budget.reserve(5)
    tasks = await asking(budget, 10, 1)
    assert got(tasks) == [False, False]
    budget.release(5)
    await turn()
    assert got(tasks) == [True, False]
    await leave(*tasks)


async def test_who_leaves_while_waiting_takes_nothing() -> None:
    budget = ByteBudget(10)
    await budget.reserve(10)
    tasks = await asking(budget, 10, 10)
    await leave(tasks[0])
    budget.release(10)
    await turn()
    assert got(tasks) == [False, True]
    budget.release(10)
    assert got(await asking(budget, 10)) == [True]


async def test_who_leaves_while_waiting_lets_those_behind_have_what_is_free() -> None:
    budget = ByteBudget(10)
    await budget.reserve(5)
    tasks = await asking(budget, 10, 5)
    await leave(tasks[0])
    await turn()
    assert got(tasks) == [False, True]


async def test_after_all_who_waited_have_left_free_bytes_are_given_at_once() -> None:
    budget = ByteBudget(10)
    await budget.reserve(5)
    await leave(*await asking(budget, 10, 10))
    assert got(await asking(budget, 5)) == [True]


async def test_who_leaves_in_the_instant_of_getting_gives_back() -> None:
    budget = ByteBudget(10)
    await budget.reserve(10)
    tasks = await asking(budget, 10, 10)
    budget.release(10)  # the first has its turn, but its task does not know yet
    tasks[0].cancel()
    await turn()
    assert tasks[0].cancelled()
    assert got(tasks) == [False, True]
    budget.release(10)
    assert got(await asking(budget, 10)) == [True]


async def test_who_does_not_want_to_wait_takes_nothing_from_those_who_do() -> None:
    budget = ByteBudget(10)
    assert budget.try_reserve(6)
    assert not budget.try_reserve(5)
    assert budget.try_reserve(4)
    tasks = await asking(budget, 6)
    budget.release(4)
    assert not budget.try_reserve(1)
    await leave(*tasks)
    assert budget.try_reserve(4)
