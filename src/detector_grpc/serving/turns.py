"""Whose turn it is: a queue that is fair between flows, and lets interactive work pass batch work.

A flow is a path, such as caller, kind of work, stream. On each level those who have something waiting take turns, one
item each, however much waits below them: caller by caller, and for each caller its calls and its streams, and stream by
stream. Within a flow, first come, first served. While interactive flows wait, batch flows get every tenth turn, so that
neither keeps the other waiting for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from enum import Enum
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")

# None may be the beginning of another one.
Flow: TypeAlias = tuple[Hashable, ...]

INTERACTIVE_PER_BATCH = 9


class Priority(Enum):
    """Whether somebody, or a live camera, waits for the answer."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class Turns(Generic[T]):
    """The queue. A flow keeps its priority for as long as it has items here."""

    def __init__(self) -> None:
        self._roots = {priority: _Node[T]() for priority in Priority}
        self._interactive_in_a_row = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count  # read by other threads, too

    def waiting(self, flow: Flow, priority: Priority) -> int:
        """Number of items of one flow."""
        return len(self._roots[priority].find(flow))

    def append(self, item: T, flow: Flow, priority: Priority) -> None:
        """Puts an item behind all others of its flow."""
        self._roots[priority].append(item, flow)
        self._count += 1

    def next(self, *, batch: bool = True) -> T | None:
        """Takes the item whose turn it is; its flow then stands behind all others, on every level.

        Args:
            batch: Whether it may be batch work.

        Returns:
            The item; None if none may be taken.
        """
        root = self._roots[self._turn(batch=batch)]
        if not root:
            return None
        self._count -= 1
        return root.next()

    def remove(self, item: T, flow: Flow, priority: Priority) -> bool:
        """Takes an item out wherever it stands; says whether it was there."""
        removed = self._roots[priority].remove(item, flow)
        self._count -= removed
        return removed

    def _turn(self, *, batch: bool) -> Priority:
        batch = batch and bool(self._roots[Priority.BATCH])
        interactive = bool(self._roots[Priority.INTERACTIVE])
        if batch and (not interactive or self._interactive_in_a_row >= INTERACTIVE_PER_BATCH):
            self._interactive_in_a_row = 0
            return Priority.BATCH
        self._interactive_in_a_row += 1
        return Priority.INTERACTIVE


class _Node(Generic[T]):
    """The end of a flow, which has items, or a fork, which has branches in the order of their turns; none is empty."""

    def __init__(self) -> None:
        self.items: deque[T] = deque()
        self.branches: dict[Hashable, _Node[T]] = {}

    def __bool__(self) -> bool:
        return bool(self.items or self.branches)

    def find(self, flow: Flow) -> deque[T]:
        node = self
        for step in flow:
            node = node.branches.get(step) or _Node()
        return node.items

    def append(self, item: T, flow: Flow) -> None:
        node = self
        for step in flow:
            node = node.branches.setdefault(step, _Node())
        node.items.append(item)

    def next(self) -> T:
        if self.items:
            return self.items.popleft()
        step = next(iter(self.branches))
        branch = self.branches.pop(step)
        item = branch.next()
        if branch:
            self.branches[step] = branch
        return item

    def remove(self, item: T, flow: Flow) -> bool:
        if not flow:
            found = item in self.items
            if found:
                self.items.remove(item)
            return found
        step, *rest = flow
        branch = self.branches.get(step)
        removed = branch is not None and branch.remove(item, tuple(rest))
        if removed and not branch:
            del self.branches[step]
        return removed
