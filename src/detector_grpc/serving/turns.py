"""Whose turn it is: a queue that is fair between flows, and lets interactive work pass batch work.

Items belong to flows. Within a flow, first come, first served; flows of one priority take turns, one item each. While
interactive flows wait, a batch flow gets every fifth turn, so that neither keeps the other waiting for ever.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

T = TypeVar("T")

INTERACTIVE_PER_BATCH = 4


class Priority(Enum):
    """Whether somebody, or a live camera, waits for the answer."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class Turns(Generic[T]):
    """The queue. A flow keeps its priority for as long as it has items here."""

    def __init__(self) -> None:
        # Each in the order of the flows' turns; no flow is there without items.
        self._flows: dict[Priority, dict[Hashable, deque[T]]] = {priority: {} for priority in Priority}
        self._interactive_in_a_row = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count  # read by other threads, too

    def waiting(self, flow: Hashable, priority: Priority) -> int:
        """Number of items of one flow."""
        return len(self._flows[priority].get(flow, ()))

    def append(self, item: T, flow: Hashable, priority: Priority) -> None:
        """Puts an item behind all others of its flow."""
        self._flows[priority].setdefault(flow, deque()).append(item)
        self._count += 1

    def next(self) -> T:
        """Takes the item whose turn it is; its flow then stands behind all others of its priority.

        Raises:
            IndexError: There is none.
        """
        priority = self._turn()
        flows = self._flows[priority]
        if not flows:
            raise IndexError("nothing waits")
        flow = next(iter(flows))
        items = flows.pop(flow)
        item = items.popleft()
        self._count -= 1
        if items:
            flows[flow] = items
        return item

    def remove(self, item: T, flow: Hashable, priority: Priority) -> bool:
        """Takes an item out wherever it stands; says whether it was there."""
        items = self._flows[priority].get(flow)
        if items is None or item not in items:
            return False
        items.remove(item)
        self._count -= 1
        if not items:
            del self._flows[priority][flow]
        return True

    def _turn(self) -> Priority:
        interactive, batch = self._flows[Priority.INTERACTIVE], self._flows[Priority.BATCH]
        if batch and (not interactive or self._interactive_in_a_row >= INTERACTIVE_PER_BATCH):
            self._interactive_in_a_row = 0
            return Priority.BATCH
        self._interactive_in_a_row += 1
        return Priority.INTERACTIVE
