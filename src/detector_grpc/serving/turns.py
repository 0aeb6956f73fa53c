"""Whose turn it is: a queue that is fair between flows.

A flow is a path, such as caller, kind of work, stream. On each level those who have something waiting take turns, one
item each, however much waits below them: caller by caller, and for each caller its calls and its streams, and stream by
stream. Within a flow, first come, first served.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")

# None may be the beginning of another one.
Flow: TypeAlias = tuple[Hashable, ...]


class Turns(Generic[T]):
    """The queue."""

    def __init__(self) -> None:
        self._root = _Node[T]()
        self._count = 0

    def __len__(self) -> int:
        return self._count  # read by other threads, too

    def waiting(self, flow: Flow) -> int:
        """Number of items of one flow."""
        return len(self._root.find(flow))

    def append(self, item: T, flow: Flow) -> None:
        """Puts an item behind all others of its flow."""
        self._root.append(item, flow)
        self._count += 1

    def next(self) -> T:
        """Takes the item whose turn it is; its flow then stands behind all others, on every level.

        Raises:
            IndexError: There is none.
        """
        if not self._root:
            raise IndexError("nothing waits")
        self._count -= 1
        return self._root.next()

    def remove(self, item: T, flow: Flow) -> bool:
        """Takes an item out wherever it stands; says whether it was there."""
        removed = self._root.remove(item, flow)
        self._count -= removed
        return removed


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
