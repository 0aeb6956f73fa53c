"""Exactly one answer per accepted frame, whatever the order of frames, workers, drops, drains and slow reads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from detector_grpc.serving.frames import Delivery, DropReason, Frame, FrameBook

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_AGE_S = 5.0


class Book(RuleBasedStateMachine):
    """Plays a stream; keeps a diary of its own, as plainly as can be."""

    @initialize(delivery=st.sampled_from(Delivery), max_age_s=st.sampled_from([None, MAX_AGE_S]))
    def open(self, delivery: Delivery, max_age_s: float | None) -> None:
        self.delivery, self.max_age_s, self.now = delivery, max_age_s, 0.0
        self.settled: list[int] = []
        self.book = FrameBook[int](delivery, max_age_s, lambda frame: self.settled.append(frame.payload))
        self.accepted: list[int] = []
        self.broken: set[int] = set()
        self.running: list[Frame[int]] = []
        self.looked_at: set[int] = set()
        self.answered: list[Frame[int]] = []

    @rule()
    def accept(self) -> None:
        self.accepted.append(len(self.accepted))
        self.book.accept(self.accepted[-1], self.now)

    @rule()
    def accept_a_broken_one(self) -> None:
        self.accepted.append(len(self.accepted))
        self.broken.add(self.accepted[-1])
        self.book.accept_settled(self.accepted[-1], self.now, "broken")

    @rule()
    def a_worker_is_free(self) -> None:
        waiting = self.book.waiting
        frame = self.book.take(self.now)
        if frame is None:
            assert waiting == 0 or self.max_age_s is not None
            return
        assert frame.payload not in self.looked_at | self.broken
        assert self.delivery is Delivery.LOSSLESS or self.now - frame.arrived <= (self.max_age_s or math.inf)
        self.looked_at.add(frame.payload)
        self.running.append(frame)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_worker_is_done(self, data: st.DataObject) -> None:
        frame = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.book.settle(frame, f"result {frame.payload}")

    @rule(seconds=st.floats(0, 4))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def the_caller_reads(self) -> None:
        self.read(self.book.answers())

    def read(self, answers: Iterable[Frame[int]]) -> None:
        for frame in answers:
            match frame.outcome:
                case DropReason.SUPERSEDED | DropReason.STALE:
                    assert self.delivery is Delivery.LATEST
                    assert frame.payload not in self.looked_at | self.broken
                case "broken":
                    assert frame.payload in self.broken
                case outcome:
                    assert outcome == f"result {frame.payload}"
                    assert frame.payload in self.looked_at
            self.answered.append(frame)

    @invariant()
    def answers_are_in_order_and_none_is_missing(self) -> None:
        if hasattr(self, "book"):
            assert [frame.payload for frame in self.answered] == self.accepted[: len(self.answered)]
            assert self.book.unanswered == len(self.accepted) - len(self.answered)
            assert len(self.settled) == len(set(self.settled))

    @invariant()
    def the_newest_waits_alone_where_frames_may_be_dropped(self) -> None:
        if hasattr(self, "book") and self.delivery is Delivery.LATEST:
            assert self.book.waiting <= 1

    def teardown(self) -> None:
        if not hasattr(self, "book"):
            return
        while (frame := self.book.take(self.now)) is not None:
            self.looked_at.add(frame.payload)
            self.running.append(frame)
        for frame in self.running:
            self.book.settle(frame, f"result {frame.payload}")
        self.read(self.book.answers())
        assert [frame.payload for frame in self.answered] == self.accepted
        assert sorted(self.settled) == self.accepted
        assert self.book.unanswered == self.book.waiting == 0


Book.TestCase.settings = settings(stateful_step_count=50)
TestFrameBook = Book.TestCase


def test_the_newest_frame_is_never_dropped_for_an_older_one() -> None:
    book = FrameBook[int](Delivery.LATEST, None, lambda _: None)
    for number in range(5):
        book.accept(number, 0.0)
    frame = book.take(0.0)
    assert frame is not None
    assert frame.payload == 4


def test_what_is_abandoned_is_settled_once_and_answered_to_nobody() -> None:
    settled: list[tuple[int, object]] = []
    book = FrameBook[int](Delivery.LOSSLESS, None, lambda frame: settled.append((frame.payload, frame.outcome)))
    for number in range(3):
        book.accept(number, 0.0)
    running = book.take(0.0)
    assert running is not None
    book.abandon("gone")
    book.settle(running, "too late")
    assert settled == [(0, "gone"), (1, "gone"), (2, "gone")]
    assert list(book.answers()) == []
    assert book.take(0.0) is None
