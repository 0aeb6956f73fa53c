"""Calls on a schedule that no answer can delay, and calls of clients that wait for their answers.

An open loop sends each call when it is due, however many are unanswered, and its latency is counted from then on: a
server that stalls is late for all that was due meanwhile, not only for the calls that it had already got (Gil Tene
calls the mistake coordinated omission). A closed loop measures what the server can do, and no latency that anybody but
its own clients would see.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    import numpy as np
    from numpy.typing import NDArray

    from detector_grpc.client import CallFailed


# Makes the call of a number, at most for so many seconds, and says how it failed if it did.
MakeCall: TypeAlias = "Callable[[int, float], Awaitable[CallFailed | None]]"


class Call(NamedTuple):
    """One call that has ended; times in seconds since the window began.

    Attributes:
        due_s: When it was to be sent.
        sent_s: When it was sent.
        ended_s: When it ended.
        failure: How it failed; None if it was answered.
    """

    due_s: float
    sent_s: float
    ended_s: float
    failure: CallFailed | None

    @property
    def latency_s(self) -> float:
        """From when it was due to its end."""
        return self.ended_s - self.due_s


@dataclass(frozen=True)
class Window:
    """When calls count.

    Attributes:
        warm_up_s: Time before it, with the same load.
        seconds: Its length.
    """

    warm_up_s: float
    seconds: float

    @property
    def whole_s(self) -> float:
        """Both together."""
        return self.warm_up_s + self.seconds


@dataclass(frozen=True)
class Measured:
    """What a load came to.

    Attributes:
        seconds: Length of the window, which is shorter than planned if the measurement was cut short.
        calls: Those that count.
        unanswered: Number of calls, the warm-up included, that had not ended when the measurement was cut short.
        unsent: Number of calls that were due and not sent, as too many were unanswered for the generator's memory.
        cpu_ms_per_call: CPU time of this process, all its threads, for each call that was sent, the warm-up included;
            0 if none was.
        cut_short: Whether it was stopped early.
    """

    seconds: float
    calls: tuple[Call, ...]
    unanswered: int
    unsent: int
    cpu_ms_per_call: float
    cut_short: bool


class Load:
    """One measurement.

    Args:
        make_call: Makes calls.
        window: When they count.
        deadline_s: Longest that a call may take from when it was due.
        stop: Ends the measurement early.
        clock: The time now, in seconds.
        enough: Whether what this call came to ends the measurement early.
    """

    def __init__(
        self,
        make_call: MakeCall,
        window: Window,
        deadline_s: float,
        stop: asyncio.Event,
        *,
        clock: Callable[[], float] = time.perf_counter,
        enough: Callable[[Call], bool] = lambda _: False,
    ) -> None:
        self._make_call = make_call
        self._window = window
        self._deadline_s = deadline_s
        self._stop = stop
        self._clock = clock
        self._enough = enough
        self._satisfied = asyncio.Event()
        self._ended: list[Call] = []
        self._sent = self._unsent = 0
        self._begun_at = self._cpu_s = 0.0

    async def open_loop(self, arrivals_s: NDArray[np.float64], most_unanswered: int) -> Measured:
        """Sends a call at each of these times, since the warm-up began; those that are due within the window count.

        Args:
            arrivals_s: Ascending.
            most_unanswered: Most calls under way; others are given up.
        """

        async def send_all() -> None:
            async with asyncio.TaskGroup() as calls:
                for number, due_s in enumerate((arrivals_s - self._window.warm_up_s).tolist()):
                    await sleep_until(self._begun_at + due_s, self._clock)
                    if self._unanswered < most_unanswered:
                        calls.create_task(self._call(number, due_s))
                        self._sent += 1
                    else:
                        self._unsent += due_s >= 0
                await sleep_until(self._begun_at + self._window.seconds, self._clock)

        cut_short, elapsed_s = await self._run(send_all())
        seconds = min(elapsed_s, self._window.seconds)
        return self._measured(seconds, (call for call in self._ended if 0 <= call.due_s < seconds), cut_short=cut_short)

    async def closed_loop(self, clients: int) -> Measured:
        """Keeps so many calls under way; those that end within the window count."""
        numbers = itertools.count()

        async def client() -> None:
            while (now_s := self._clock() - self._begun_at) < self._window.seconds:
                self._sent += 1
                await self._call(next(numbers), now_s)

        async def all_clients() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(clients):
                    group.create_task(client())

        cut_short, elapsed_s = await self._run(all_clients())
        seconds = min(elapsed_s, self._window.seconds)
        return self._measured(
            seconds, (call for call in self._ended if 0 <= call.ended_s < seconds), cut_short=cut_short
        )

    @property
    def _unanswered(self) -> int:
        return self._sent - len(self._ended)

    async def _run(self, load: Coroutine[None, None, None]) -> tuple[bool, float]:
        """Whether the load was stopped, and how long it took after the warm-up."""
        self._begun_at = self._clock() + self._window.warm_up_s
        self._cpu_s = time.process_time()
        done = await finished(load, self._stop, self._satisfied)
        elapsed_s = max(self._clock() - self._begun_at, 0.0)
        self._cpu_s = time.process_time() - self._cpu_s
        return not done, elapsed_s

    async def _call(self, number: int, due_s: float) -> None:
        sent_at = self._clock()
        failure = await self._make_call(number, max(self._begun_at + due_s + self._deadline_s - sent_at, 0.0))
        call = Call(due_s, sent_at - self._begun_at, self._clock() - self._begun_at, failure)
        self._ended.append(call)
        if due_s >= 0 and self._enough(call):
            self._satisfied.set()

    def _measured(self, seconds: float, calls: Iterable[Call], *, cut_short: bool) -> Measured:
        return Measured(
            seconds,
            tuple(calls),
            self._unanswered,
            self._unsent,
            self._cpu_s / self._sent * 1e3 if self._sent else 0.0,
            cut_short,
        )


async def sleep_until(at: float, clock: Callable[[], float], stop: asyncio.Event | None = None) -> None:
    """Sleeps until the clock says so, or `stop` is set; timers may be early by a part of a millisecond."""
    while (left_s := at - clock()) > 0:
        if stop is None:
            await asyncio.sleep(left_s)
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await stop.wait()
                    return


async def finished(work: Coroutine[None, None, None], *stops: asyncio.Event) -> bool:
    """Does the work until it is done, or given up because one of the events is set; says which.

    Whatever the work raises is raised.
    """
    task = asyncio.ensure_future(work)
    waiting = [asyncio.ensure_future(stop.wait()) for stop in stops]
    try:
        await asyncio.wait([task, *waiting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        done = task.done()
        for each in (task, *waiting):
            each.cancel()
        await asyncio.gather(task, *waiting, return_exceptions=True)
    if done:
        task.result()
    return done
