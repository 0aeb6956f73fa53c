"""What threads have for themselves."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class PerThread(Generic[T]):
    """Lends each thread a thing for as long as it lives; what was lent to one that has ended is lent to the next."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._left: deque[T] = deque()

    def get(self, make: Callable[[], T]) -> T:
        """The calling thread's; made if it has none, and nobody has left one."""
        loan: _Loan[T] | None = getattr(self._own, "loan", None)
        if loan is None:
            left = self._pop()
            loan = self._own.loan = _Loan(make() if left is None else left, self._left)
        return loan.thing

    def take_back(self) -> list[T]:
        """Takes the calling thread's away, and all that nobody has; none of them is lent again."""
        loan: _Loan[T] | None = self._own.__dict__.pop("loan", None)
        del loan  # which leaves what it was about
        return list(iter(self._pop, None))

    def _pop(self) -> T | None:
        try:
            return self._left.pop()
        except IndexError:
            return None


class _Loan(Generic[T]):
    """Kept by a thread, and gone with it."""

    def __init__(self, thing: T, left: deque[T]) -> None:
        self.thing = thing
        self._left = left

    def __del__(self) -> None:
        self._left.append(self.thing)
