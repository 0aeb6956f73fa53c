"""The highest rate at which 99 of 100 calls are answered within a bound, as MLPerf's server scenario asks."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.bench.arrivals import poisson
from detector_grpc.bench.load import Load
from detector_grpc.bench.report import MOST_LATENESS, LoadReport

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator, Iterable, Sequence

    from detector_grpc.bench.load import Call, MakeCall, Window

_SHARE_WITHIN = 0.99


class Trial(NamedTuple):
    """A rate to be tried.

    Attributes:
        rate_per_s: Calls per second.
        confirms: Whether it was tried before, with other arrivals.
    """

    rate_per_s: float
    confirms: bool


@dataclass(frozen=True)
class Step:
    """A rate that was tried.

    Attributes:
        rate_per_s: Calls per second.
        confirms: Whether it was tried before, with other arrivals.
        within: Whether enough calls were answered within the bound.
        load: How it was borne; cut short once too many calls had missed the bound.
    """

    rate_per_s: float
    confirms: bool
    within: bool
    load: LoadReport


@dataclass(frozen=True)
class SearchReport:
    """A search.

    Attributes:
        p99_bound_ms: The bound.
        resolution: Largest ratio, less 1, that there was to be between the rate that is found and one that is too high.
        found_to: The ratio that there is; None if no higher rate was tried, or no rate found.
        highest_per_s: The rate that was confirmed, else the highest within the bound such that no lower one was beyond
            it; None without any.
        confirmed: Whether it was confirmed.
        steps: In the order in which they were made.
        cut_short: Whether the search was stopped early.
        warnings: Why figures are not what they seem, in sentences.
    """

    p99_bound_ms: float
    resolution: float
    found_to: float | None
    highest_per_s: float | None
    confirmed: bool
    steps: Sequence[Step]
    cut_short: bool
    warnings: Sequence[str]

    @classmethod
    def of(cls, steps: Sequence[Step], bound_s: float, resolution: float, *, cut_short: bool) -> SearchReport:
        """Says what the steps amount to."""
        too_high = min((step.rate_per_s for step in steps if not step.within), default=math.inf)
        within = [step for step in steps if step.within and (step.confirms or step.rate_per_s < too_high)]
        best = max(within, key=lambda step: (step.confirms, step.rate_per_s), default=None)
        return cls(
            bound_s * 1e3,
            resolution,
            too_high / best.rate_per_s - 1 if best and too_high < math.inf else None,
            best.rate_per_s if best else None,
            best is not None and best.confirms,
            tuple(steps),
            cut_short,
            (
                *(best.load.warnings if best else ()),
                *_generator_warnings(steps, bound_s),
                *_outage_warnings(steps),
                *_contradiction_warnings(steps, best, resolution),
            ),
        )


def _generator_warnings(steps: Sequence[Step], bound_s: float) -> Iterable[str]:
    """That a rate was too high for the generator rather than for the server; nothing if it was not."""
    lowest = min((step for step in steps if not step.within), key=lambda step: step.rate_per_s, default=None)
    lateness = lowest.load.lateness if lowest else None
    if lowest and lateness and lateness.p99_ms > MOST_LATENESS * bound_s * 1e3:
        yield (
            f"at {lowest.rate_per_s:.1f} per second the generator itself was late, by {lateness.p99_ms:.1f} ms at the "
            "99th percentile: with a processor of its own it may find a higher rate"
        )


def _outage_warnings(steps: Sequence[Step]) -> Iterable[str]:
    """That at times there was no server, which says nothing of a rate; nothing if there always was."""
    for step in steps:
        if not step.within and (unreachable := step.load.failed.get("UNAVAILABLE")):
            yield (
                f"at {step.rate_per_s:.1f} per second {unreachable} calls found no server: it may have been down, "
                "rather than asked for too much"
            )


def _contradiction_warnings(steps: Sequence[Step], best: Step | None, resolution: float) -> Iterable[str]:
    """That a rate was within the bound which later was not, by more than chance explains; nothing if there is none."""
    highest = max((step.rate_per_s for step in steps if step.within), default=0.0)
    if best and best.confirms and highest > best.rate_per_s * (1 + resolution) ** 2:
        yield (
            f"{highest:.1f} per second were within the bound before, and then no more: what the server can do changes, "
            "as on a machine that has other things to do"
        )


def trials(start_per_s: float, resolution: float) -> Generator[Trial, bool, None]:
    """Doubles the rate until it is too high, halves the gap until it is small, and tries the best rate once more.

    A rate that fails then is lowered by `resolution` until one passes. The search ends without one where the first rate
    is too high already. To be sent whether the rate was within the bound.

    Args:
        start_per_s: The first rate.
        resolution: Largest ratio, less 1, between a rate that passed and one that did not.
    """
    low, high = 0.0, start_per_s
    while (yield Trial(high, confirms=False)):
        low, high = high, 2 * high
    while low and high > low * (1 + resolution):
        middle = math.sqrt(low * high)
        if (yield Trial(middle, confirms=False)):
            low = middle
        else:
            high = middle
    while low >= start_per_s and not (yield Trial(low, confirms=True)):
        low /= 1 + resolution


def most_misses(calls: int) -> int:
    """How many of so many calls may miss the bound. The 99th percentile by nearest rank is within it then."""
    return calls - math.ceil(_SHARE_WITHIN * calls - 1e-9)


async def measure(
    make_call: MakeCall,
    trial: Trial,
    bound_s: float,
    window: Window,
    seed: int,
    stop: asyncio.Event,
    deadline_s: float,
    most_unanswered: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Step:
    """Tries a rate. Calls that fail miss the bound."""
    arrivals_s = poisson(trial.rate_per_s, window.whole_s, seed)
    allowed = most_misses(int((arrivals_s >= window.warm_up_s).sum()))
    misses = 0

    def too_many(call: Call) -> bool:
        nonlocal misses
        misses += call.failure is not None or call.latency_s > bound_s
        return misses > allowed

    load = Load(make_call, window, deadline_s, stop, clock=clock, enough=too_many)
    measured = await load.open_loop(arrivals_s, most_unanswered)
    within = misses + measured.unsent <= allowed and not measured.cut_short
    return Step(trial.rate_per_s, trial.confirms, within, LoadReport.of(measured, deadline_s))
