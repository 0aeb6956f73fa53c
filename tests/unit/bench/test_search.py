from __future__ import annotations

import asyncio
from math import exp, factorial, floor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.queues import Queue
from support.virtual_time import VirtualTime, in_virtual_time

from detector_grpc.bench.load import Call, Measured, Window
from detector_grpc.bench.report import LoadReport
from detector_grpc.bench.search import SearchReport, Step, measure, most_misses, trials
from detector_grpc.client import CallFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector_grpc.bench.search import Trial

RESOLUTION = 0.02


def tried(is_within: Callable[[Trial], bool], start_per_s: float = 1, resolution: float = RESOLUTION) -> list[Trial]:
    plan = trials(start_per_s, resolution)
    made = [next(plan)]
    try:
        while True:
            made.append(plan.send(is_within(made[-1])))
    except StopIteration:
        return made


@given(st.floats(1, 1e5), st.floats(0.005, 0.5))
def test_the_highest_rate_is_found_to_the_resolution_and_confirmed(capacity_per_s: float, resolution: float) -> None:
    made = tried(lambda trial: trial.rate_per_s <= capacity_per_s, resolution=resolution)
    assert made[-1].confirms
    assert capacity_per_s / (1 + resolution) <= made[-1].rate_per_s * (1 + 1e-9)
    assert made[-1].rate_per_s <= capacity_per_s
    assert [trial.confirms for trial in made].count(True) == 1


def test_the_rate_doubles_until_it_is_too_high() -> None:
    rates = [trial.rate_per_s for trial in tried(lambda trial: trial.rate_per_s <= 20)]
    assert rates[:6] == [1, 2, 4, 8, 16, 32]
    assert all(16 <= rate < 32 for rate in rates[6:])


def test_the_gap_is_halved_until_it_is_small() -> None:
    made = tried(lambda trial: trial.rate_per_s <= 20, resolution=0.02)
    assert (
        len([trial for trial in made if 16 < trial.rate_per_s < 32 and not trial.confirms]) == 6
    )  # 2 ** (1 / 64) < 1.02


def test_a_rate_that_is_not_confirmed_is_lowered_until_one_is() -> None:
    made = tried(lambda trial: trial.rate_per_s <= (15 if trial.confirms else 20))
    confirming = [trial.rate_per_s for trial in made if trial.confirms]
    assert 15 / (1 + RESOLUTION) < confirming[-1] <= 15 < confirming[-2]
    assert confirming[0] / confirming[1] == pytest.approx(1 + RESOLUTION)


def test_the_search_ends_where_even_the_first_rate_is_too_high() -> None:
    assert len(tried(lambda _: False)) == 1


def test_the_search_ends_where_nothing_above_the_first_rate_is_confirmed() -> None:
    made = tried(lambda trial: not trial.confirms and trial.rate_per_s < 3, start_per_s=2)
    assert made[-1].confirms
    assert made[-1].rate_per_s >= 2 / (1 + RESOLUTION)


def test_a_rate_that_is_too_high_for_the_generator_is_told_from_one_that_is_so_for_the_server() -> None:
    def step(rate_per_s: float, lateness_s: float, *, within: bool) -> Step:
        calls = tuple(Call(0, lateness_s, lateness_s + 0.01, None) for _ in range(400))
        load = LoadReport.of(Measured(1, calls, 0, 0, 0.4, cut_short=False), 1.0)
        return Step(rate_per_s, confirms=False, within=within, load=load)

    for lateness_s, warned in ((0.02, True), (0.0005, False)):
        steps = [step(2, 0, within=True), step(4, lateness_s, within=False), step(8, 0.5, within=False)]
        report = SearchReport.of(steps, 0.1, RESOLUTION, cut_short=False)
        assert report.highest_per_s == 2
        assert [warning.startswith("at 4.0 per second the generator") for warning in report.warnings] == [True] * warned


@pytest.mark.parametrize(
    ("made", "found_to"),
    [
        ([], None),
        ([(5, False, False)], None),
        ([(5, False, True)], None),
        ([(5, False, True), (10, False, False)], 1.0),
        ([(5, False, True), (10, False, False), (7, False, True)], 3 / 7),
        ([(5, False, True), (5.1, False, False), (5, True, False), (4.9, True, True)], 0.1 / 4.9),
    ],
)
def test_how_exact_a_rate_is_follows_from_the_next_one_that_was_tried(
    made: list[tuple[float, bool, bool]], found_to: float | None
) -> None:
    load = LoadReport.of(Measured(1, (Call(0, 0, 0.01, None),) * 400, 0, 0, 0.4, cut_short=False), 1.0)
    report = SearchReport.of([Step(*each, load) for each in made], 0.1, RESOLUTION, cut_short=True)
    assert report.found_to == (None if found_to is None else pytest.approx(found_to))


def test_a_server_that_was_down_for_a_time_is_told_from_a_rate_that_is_too_high() -> None:
    failures = (None,) * 400 + (CallFailed("UNAVAILABLE", "connection refused"),) * 7
    calls = tuple(Call(0, 0, 0.01, failure) for failure in failures)
    load = LoadReport.of(Measured(1, calls, 0, 0, 0.4, cut_short=False), 1.0)
    for within, warned in ((False, True), (True, False)):
        report = SearchReport.of([Step(4, confirms=False, within=within, load=load)], 0.1, RESOLUTION, cut_short=False)
        assert [each.startswith("at 4.0 per second 7 calls found no server") for each in report.warnings] == [
            True
        ] * warned


def test_rates_that_were_within_the_bound_only_at_first_are_told() -> None:
    load = LoadReport.of(Measured(1, (Call(0, 0, 0.01, None),) * 400, 0, 0, 0.4, cut_short=False), 1.0)
    made = [(20, False, True), (40, False, False), (20, True, False), (19, True, False), (12, True, True)]
    report = SearchReport.of([Step(*each, load) for each in made], 0.1, RESOLUTION, cut_short=False)
    assert (report.highest_per_s, report.confirmed) == (12, True)
    assert report.warnings[0].startswith("20.0 per second were within the bound before")


@pytest.mark.parametrize(("calls", "most"), [(0, 0), (1, 0), (99, 0), (100, 1), (199, 1), (200, 2), (1000, 10)])
def test_one_call_in_a_hundred_may_miss_the_bound(calls: int, most: int) -> None:
    assert most_misses(calls) == most


def test_the_capacity_of_one_worker_is_found_where_queueing_theory_has_it() -> None:
    """M/D/1: Poisson arrivals, one worker that takes 20 ms; Erlang's formula for waiting at most 80 ms."""

    def share_within(rate_per_s: float) -> float:
        terms = range(floor(0.08 / 0.02 + 1e-9) + 1)
        early = [rate_per_s * (0.02 * k - 0.08) for k in terms]
        return (1 - rate_per_s * 0.02) * sum(x**k / factorial(k) * exp(-x) for k, x in zip(terms, early, strict=True))

    expected = max(rate / 10 for rate in range(1, 500) if share_within(rate / 10) >= 0.99)
    assert 25 < expected < 45
    assert searched(workers=1, seconds=120).highest_per_s == pytest.approx(expected, rel=0.1)


def test_four_workers_reach_more_than_four_times_what_one_does() -> None:
    highest_per_s = searched(workers=4, seconds=20).highest_per_s
    assert highest_per_s is not None
    assert 4 * 35 < highest_per_s < 4 * 50


def searched(workers: int, seconds: float) -> SearchReport:
    """Searches the rate whose p99 is within 100 ms, of workers that take 20 ms."""

    async def main(time: VirtualTime) -> SearchReport:
        steps: list[Step] = []
        plan = trials(2, RESOLUTION)
        trial, stop = next(plan), asyncio.Event()
        while True:
            server = Queue(time, workers, 0.02)
            window = Window(2, seconds)
            steps.append(await measure(server, trial, 0.1, window, len(steps), stop, 1.0, 1_000_000, clock=time))
            try:
                trial = plan.send(steps[-1].within)
            except StopIteration:
                return SearchReport.of(steps, 0.1, RESOLUTION, cut_short=False)

    report = in_virtual_time(main)
    assert report.confirmed
    assert report.highest_per_s == report.steps[-1].rate_per_s
    assert all(step.load.cut_short is not step.within for step in report.steps)
    return report
