"""Threads that a test plays itself, so that every run goes the same way."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Threads(Executor):
    """Threads that take a job when it is given to them, and finish it when the script says so."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: list[tuple[float, Future[Any], Callable[..., Any], tuple[Any, ...]]] = []
        self.most = 0
        self.began_at = 0.0

    @property
    def first_began_at(self) -> float | None:
        """When the job began that runs for the longest time; None where none runs."""
        return self._held[0][0] if self._held else None

    def submit(self, function: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        done: Future[Any] = Future()
        self._held.append((self._clock(), done, function, args))
        self.most = max(self.most, len(self._held))
        return done

    def finish(self, which: int = 0) -> bool:
        """Finishes one of those that run; tells whether there was one."""
        if not self._held:
            return False
        self.began_at, done, function, args = self._held.pop(which % len(self._held))
        try:
            done.set_result(function(*args))
        except Exception as error:  # noqa: BLE001 - as the real ones do
            done.set_exception(error)
        return True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        assert not self._held
