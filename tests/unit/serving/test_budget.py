"""Bytes are given out in the order of asking, and none is lost."""

from __future__ import annotations

import asyncio

from detector_grpc.serving.budget import ByteBudget, Shares


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


class TestShares:
    """Who can wait keeps nothing from who cannot."""

    async def test_recordings_and_calls_leave_room_for_live_streams(self) -> None:
        shares = Shares.of(100, 10)
        recordings = await asking(shares.recordings, 30, 20, 10)
        assert got(recordings) == [True, True, False]
        calls = await asking(shares.calls, 20, 10)
        assert got(calls) == [True, False]
        assert shares.live.try_reserve(30)
        assert not shares.live.try_reserve(1)
        await leave(*recordings, *calls)

    async def test_what_live_streams_hold_others_wait_for(self) -> None:
        shares = Shares.of(100, 10)
        assert shares.live.try_reserve(95)
        waiting = [*await asking(shares.recordings, 5, 10), *await asking(shares.calls, 10)]
        assert got(waiting) == [True, False, False]
        shares.live.release(95)
        await turn()
        assert got(waiting) == [True, True, True]

    async def test_every_share_has_room_for_the_largest(self) -> None:
        shares = Shares.of(20, 20)
        for share in shares:
            await share.reserve(20)
            share.release(20)

    async def test_who_leaves_while_waiting_for_the_whole_gives_back_the_part(self) -> None:
        shares = Shares.of(100, 10)
        assert shares.live.try_reserve(100)
        await leave(*await asking(shares.recordings, 50, 10))
        await leave(*await asking(shares.calls, 75))
        shares.live.release(100)
        assert got(await asking(shares.recordings, 50)) == [True]
