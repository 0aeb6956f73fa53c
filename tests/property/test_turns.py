"""What holds for every order of coming, leaving and being served."""

from __future__ import annotations

from collections import defaultdict
from copy import deepcopy
from itertools import count
from math import inf
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from detector_grpc.serving.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from detector_grpc.serving.turns import Flow

CALLERS = "ab"
WAYS = [(caller, "calls") for caller in CALLERS] + [(caller, "streams", n) for caller in CALLERS for n in range(3)]
FLOWS = st.sampled_from(WAYS)


def forks(flow: Flow) -> Iterator[tuple[Flow, Hashable]]:
    """Every place where a flow takes turns with others, and what it is there."""
    return ((flow[:level], flow[level]) for level in range(len(flow)))


class Queue(RuleBasedStateMachine):
    """Keeps for every flow what waits, and who was served since when."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns[int]()
        self.numbers = count()
        self.waiting: dict[Flow, list[tuple[float, int]]] = defaultdict(list)  # when due, and the item
        # By fork and branch: the branches that were served since it waits for its turn.
        self.passed: dict[tuple[Flow, Hashable], set[Hashable]] = defaultdict(set)

    def branches(self, fork: Flow) -> set[Hashable]:
        """What waits at a fork."""
        flows = [flow for flow, items in self.waiting.items() if items]
        return {flow[len(fork)] for flow in flows if flow[: len(fork)] == fork and len(flow) > len(fork)}

    @rule(flow=FLOWS, due=st.sampled_from([1.0, 2.0, 3.0, inf]))
    def come(self, flow: Flow, due: float) -> None:
        item = next(self.numbers)
        for fork, branch in forks(flow):
            if branch not in self.branches(fork):
                self.passed[fork, branch] = set()
        self.waiting[flow].append((due, item))
        self.turns.append(item, flow, due)

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        flow = data.draw(st.sampled_from([flow for flow, items in self.waiting.items() if items]))
        due, item = data.draw(st.sampled_from(self.waiting[flow]))
        self.waiting[flow].remove((due, item))
        assert self.turns.remove(item, flow)
        assert not self.turns.remove(item, flow)

    @precondition(lambda self: any(self.waiting.values()))
    @rule()
    def serve(self) -> None:
        item = self.turns.next()
        flow = next(flow for flow, items in self.waiting.items() if item in [number for _, number in items])
        first = min(self.waiting[flow])  # the most urgent, and of equally urgent ones the first that came
        assert first[1] == item
        self.waiting[flow].remove(first)
        for fork, branch in forks(flow):
            for other in self.branches(fork) - {branch}:
                assert branch not in self.passed[fork, other]  # nobody is served twice while another waits
                self.passed[fork, other].add(branch)
            self.passed[fork, branch] = set()

    @invariant()
    def everything_that_waits_is_counted(self) -> None:
        assert len(self.turns) == sum(map(len, self.waiting.values()))
        for flow, items in self.waiting.items():
            assert self.turns.waiting(flow) == len(items)

    @rule(flow=FLOWS)
    def ask(self, flow: Flow) -> None:
        copied = deepcopy(self.turns)
        copied.append(-1, flow)
        assert self.turns.ahead(flow) == len(list(iter(copied.next, -1)))


Queue.TestCase.settings = settings(stateful_step_count=40)
TestTurns = Queue.TestCase


def test_an_empty_queue_has_no_next() -> None:
    with pytest.raises(IndexError):
        Turns[int]().next()
