"""Crashes in a row wait longer and longer, up to a limit; who has run well begins anew."""

from __future__ import annotations

from detector_grpc.gateway.supervision.backoff import Backoff


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def crash_after(ran_s: float, backoff: Backoff, clock: Clock) -> float:
    backoff.begin()
    clock.now_s += ran_s
    return backoff.crash()


def test_each_crash_in_a_row_waits_twice_as_long_up_to_the_most() -> None:
    clock = Clock()
    backoff = Backoff(first_s=0.5, most_s=5, well_s=30, clock=clock)
    assert [crash_after(1, backoff, clock) for _ in range(6)] == [0.5, 1, 2, 4, 5, 5]
    assert backoff.crashes == 6


def test_a_process_that_has_run_well_begins_a_new_row() -> None:
    clock = Clock()
    backoff = Backoff(first_s=0.5, most_s=30, well_s=30, clock=clock)
    waits_s = [crash_after(ran_s, backoff, clock) for ran_s in (1, 1, 1, 29.9, 30, 1)]
    assert waits_s == [0.5, 1, 2, 4, 0.5, 1]
    assert backoff.crashes == 2


def test_a_thousand_crashes_wait_no_longer_than_the_most() -> None:
    clock = Clock()
    backoff = Backoff(first_s=0.5, most_s=30, well_s=30, clock=clock)
    assert [crash_after(0, backoff, clock) for _ in range(2000)][-1] == 30
