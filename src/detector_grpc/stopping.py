"""When a process stops: from the first signal on, or when a part that it cannot do without has failed."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal

# Signals so close to each other are one, sent to a process and to its group, as `timeout` and service managers do.
TOGETHER_S = 0.3


class Stopping:
    """From the first signal on, the process stops; a second one ends all waiting.

    Attributes:
        begun: Set from the first signal on, or when a part has failed.
        repeated: Set from the second signal on.
    """

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.repeated = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failure: BaseException | None = None
        self._signalled_at = -math.inf
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._on_signal)
        loop.add_signal_handler(signal.SIGINT, self._on_interrupt)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is with `nohup`
            loop.add_signal_handler(signal.SIGHUP, self._on_signal)  # the terminal was closed

    @property
    def is_hurried(self) -> bool:
        """Whether somebody waits for the end, or a part has failed."""
        return self._hurry.is_set()

    async def wait_for_balancers(self, seconds: float) -> None:
        """Gives load balancers the time to see NOT_SERVING."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), seconds)

    def fail(self, task: asyncio.Task[None]) -> None:
        """Stops the process if the task failed."""
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self._hurry.set()
            self.begun.set()

    def raise_failure(self) -> None:
        """Raises what made the process stop, if it was a failure."""
        if self._failure is not None:
            raise self._failure

    def _on_signal(self) -> None:
        now = asyncio.get_running_loop().time()
        if not self.begun.is_set():
            self._signalled_at = now
        elif now - self._signalled_at > TOGETHER_S:
            self._hurry.set()
            self.repeated.set()
        self.begun.set()

    def _on_interrupt(self) -> None:
        self._hurry.set()  # a person waits, no load balancer
        self._on_signal()
