"""Work that nobody waits for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from detector_grpc.interceptors.later import MAX_WAITING, Later

if TYPE_CHECKING:
    import pytest

TIMEOUT_S = 10


async def test_work_is_done_in_the_order_of_asking_and_not_at_once() -> None:
    later, done, last = Later(), [], asyncio.Event()
    later(done.append, 1)
    later(done.append, 2)
    later(last.set)
    assert done == []
    await asyncio.wait_for(last.wait(), TIMEOUT_S)
    assert done == [1, 2]


async def test_work_after_work_that_was_done_is_done_too() -> None:
    later, done = Later(), []
    for number in range(3):
        last = asyncio.Event()
        later(done.append, number)
        later(last.set)
        await asyncio.wait_for(last.wait(), TIMEOUT_S)
    assert done == [0, 1, 2]


async def test_flushing_does_everything_once() -> None:
    later, done = Later(), []
    later(done.append, 1)
    later.flush()
    later.flush()
    assert done == [1]


async def test_no_more_than_a_batch_waits() -> None:
    later, done = Later(), []
    for number in range(MAX_WAITING - 1):
        later(done.append, number)
    assert done == []
    later(done.append, MAX_WAITING - 1)
    assert done == list(range(MAX_WAITING))


async def test_work_that_fails_is_logged_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("broken")

    later, done = Later(), []
    later(fail)
    later(done.append, 1)
    later.flush()
    assert done == [1]
    assert "broken" in caplog.text
