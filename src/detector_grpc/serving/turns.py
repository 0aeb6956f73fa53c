"""Whose turn it is: a queue that is fair between flows.

A flow is a path, such as caller, kind of work, stream. On each level those who have something waiting take turns, one
item each, however much waits below them: caller by caller, and for each caller its calls and its streams, and stream by
stream. Within a flow, the most urgent item; of equally urgent ones, the first that came.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Hashable
from math import inf
from operator import itemgetter
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")

# None may be the beginning of another one.
Flow: TypeAlias = tuple[Hashable, ...]


class Turns(Generic[T]):
    """The queue."""

    def __init__(self) -> None:
        self._root = _Node[T]()

    def __len__(self) -> int:
        return self._root.count  # read by other threads, too

    def waiting(self, flow: Flow) -> int:
        """Number of items of one flow."""
        return len(self._root.find(flow))

    def ahead(self, flow: Flow) -> int:
        """Number of items that would have their turn before one more of this flow, were it the least urgent there."""
        return self._root.ahead(flow)

    def append(self, item: T, flow: Flow, due: float = inf) -> None:
        """Puts an item behind those of its flow that are due earlier or at the same time."""
        self._root.append(item, flow, due)

    def next(self) -> T:
        """Takes the item whose turn it is; its flow then stands behind all others, on every level.

        Raises:
            IndexError: There is none.
        """
        if not self._root.count:
            raise IndexError("nothing waits")
        return self._root.next()

    def remove(self, item: T, flow: Flow) -> bool:
        """Takes an item out wherever it stands; says whether it was there."""
        return self._root.remove(item, flow)


class _Node(Generic[T]):
    """The end of a flow, which has items, or a fork, which has branches in the order of their turns; none is empty."""

    def __init__(self) -> None:
        self.items: list[tuple[float, T]] = []  # with when they are due, in the order of their turns
        self.branches: dict[Hashable, _Node[T]] = {}
        self.count = 0  # of all items below

    def find(self, flow: Flow) -> list[tuple[float, T]]:
        node = self
        for step in flow:
            node = node.branches.get(step) or _Node()
        return node.items

    def ahead(self, flow: Flow) -> int:
        if not flow:
            return self.count
        step, *rest = flow
        own = self.branches.get(step)
        turns = own.ahead(tuple(rest)) if own else 0  # that the own branch has before
        ahead, passed = turns, False
        for branch in self.branches.values():
            if branch is own:
                passed = True
            else:  # those that stand behind the own branch have one turn less
                ahead += min(branch.count, turns if passed else turns + 1)
        return ahead

    def append(self, item: T, flow: Flow, due: float) -> None:
        node = self
        node.count += 1
        for step in flow:
            node = node.branches.setdefault(step, _Node())
            node.count += 1
        insort(node.items, (due, item), key=itemgetter(0))

    def next(self) -> T:
        self.count -= 1
        if self.items:
            return self.items.pop(0)[1]
        step = next(iter(self.branches))
        branch = self.branches.pop(step)
        item = branch.next()
        if branch.count:
            self.branches[step] = branch
        return item

    def remove(self, item: T, flow: Flow) -> bool:
        removed = self._remove_below(item, flow) if flow else self._remove_here(item)
        self.count -= removed
        return removed

    def _remove_here(self, item: T) -> bool:
        for place, (_, other) in enumerate(self.items):
            if other == item:
                del self.items[place]
                return True
        return False

    def _remove_below(self, item: T, flow: Flow) -> bool:
        step, *rest = flow
        branch = self.branches.get(step)
        removed = branch is not None and branch.remove(item, tuple(rest))
        if branch is not None and not branch.count:
            del self.branches[step]
        return removed
