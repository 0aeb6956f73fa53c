"""What holds for every order of coming, leaving and being served."""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from detector_grpc.serving.turns import INTERACTIVE_PER_BATCH, Priority, Turns

FLOWS = st.tuples(st.sampled_from("abc"), st.sampled_from(Priority))


class Queue(RuleBasedStateMachine):
    """Keeps for every flow what waits, and who was served since when."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns[int]()
        self.numbers = count()
        self.waiting: dict[tuple[str, Priority], deque[int]] = defaultdict(deque)
        self.passed: dict[tuple[str, Priority], set[str]] = defaultdict(set)  # since the flow waits for its turn
        self.batch_passed = 0

    @rule(where=FLOWS)
    def come(self, where: tuple[str, Priority]) -> None:
        item = next(self.numbers)
        if not self.waiting[where]:
            self.passed[where] = set()
        self.waiting[where].append(item)
        self.turns.append(item, *where)

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        where = data.draw(st.sampled_from([where for where, items in self.waiting.items() if items]))
        item = data.draw(st.sampled_from(list(self.waiting[where])))
        self.waiting[where].remove(item)
        assert self.turns.remove(item, *where)
        assert not self.turns.remove(item, *where)

    @precondition(lambda self: any(self.waiting.values()))
    @rule()
    def serve(self) -> None:
        item = self.turns.next()
        (flow, priority) = where = next(where for where, items in self.waiting.items() if item in items)
        assert self.waiting[where].popleft() == item  # first come, first served
        kinds = {each for (_, each), items in self.waiting.items() if items} | {priority}
        self.batch_passed = self.batch_passed + 1 if kinds == set(Priority) and priority is Priority.INTERACTIVE else 0
        assert self.batch_passed <= INTERACTIVE_PER_BATCH
        for other, items in self.waiting.items():
            if items and other != where and other[1] is priority:
                assert flow not in self.passed[other]  # nobody is served twice while another waits
                self.passed[other].add(flow)
        self.passed[where] = set()

    @invariant()
    def everything_that_waits_is_counted(self) -> None:
        assert len(self.turns) == sum(map(len, self.waiting.values()))
        for where, items in self.waiting.items():
            assert self.turns.waiting(*where) == len(items)


Queue.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestTurns = Queue.TestCase


def test_an_empty_queue_has_no_next() -> None:
    with pytest.raises(IndexError):
        Turns[int]().next()
