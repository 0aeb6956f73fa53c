"""What holds for every order of coming, leaving and being served."""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import count
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from detector_grpc.serving.turns import INTERACTIVE_PER_BATCH, Priority, Turns

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from detector_grpc.serving.turns import Flow

CALLERS = "ab"
WAYS = [(caller, "calls") for caller in CALLERS] + [(caller, "streams", n) for caller in CALLERS for n in range(3)]
FLOWS = st.tuples(st.sampled_from(WAYS), st.sampled_from(Priority))


def forks(flow: Flow) -> Iterator[tuple[Flow, Hashable]]:
    """Every place where a flow takes turns with others, and what it is there."""
    return ((flow[:level], flow[level]) for level in range(len(flow)))


class Queue(RuleBasedStateMachine):
    """Keeps for every flow what waits, and who was served since when."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns[int]()
        self.numbers = count()
        self.waiting: dict[tuple[Flow, Priority], deque[int]] = defaultdict(deque)
        # By priority, fork and branch: the branches that were served since it waits for its turn.
        self.passed: dict[tuple[Priority, Flow, Hashable], set[Hashable]] = defaultdict(set)
        self.batch_passed = 0

    def branches(self, priority: Priority, fork: Flow) -> set[Hashable]:
        """What waits at a fork."""
        flows = [flow for (flow, each), items in self.waiting.items() if items and each is priority]
        return {flow[len(fork)] for flow in flows if flow[: len(fork)] == fork and len(flow) > len(fork)}

    @rule(where=FLOWS)
    def come(self, where: tuple[Flow, Priority]) -> None:
        flow, priority = where
        item = next(self.numbers)
        for fork, branch in forks(flow):
            if branch not in self.branches(priority, fork):
                self.passed[priority, fork, branch] = set()
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

    @rule(batch=st.sampled_from([True, True, False]))
    def serve(self, *, batch: bool) -> None:
        item = self.turns.next(batch=batch)
        if item is None:
            assert not any(items for (_, each), items in self.waiting.items() if batch or each is Priority.INTERACTIVE)
            return
        (flow, priority) = where = next(where for where, items in self.waiting.items() if item in items)
        assert self.waiting[where].popleft() == item  # first come, first served
        assert batch or priority is Priority.INTERACTIVE
        kinds = {each for (_, each), items in self.waiting.items() if items} | {priority}
        if batch:
            passed = kinds == set(Priority) and priority is Priority.INTERACTIVE
            self.batch_passed = self.batch_passed + 1 if passed else 0
            assert self.batch_passed <= INTERACTIVE_PER_BATCH
        for fork, branch in forks(flow):
            for other in self.branches(priority, fork) - {branch}:
                passed = self.passed[priority, fork, other]
                assert branch not in passed  # nobody is served twice while another waits
                passed.add(branch)
            self.passed[priority, fork, branch] = set()

    @invariant()
    def everything_that_waits_is_counted(self) -> None:
        assert len(self.turns) == sum(map(len, self.waiting.values()))
        for where, items in self.waiting.items():
            assert self.turns.waiting(*where) == len(items)


Queue.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestTurns = Queue.TestCase
