"""Multiples of what a server can do: what of it is still done in time, and how the rest is turned away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector_grpc.bench.report import LoadReport


# Nothing that is said of a server to which the generator has left less means anything.
_MOST_TAKEN = 0.9


@dataclass(frozen=True)
class Multiple:
    """One open loop.

    Attributes:
        times: The rate as a multiple of the capacity.
        rate_per_s: Calls per second that were planned.
        goodput_to_capacity: Answers within the deadline by what the server can do. Range [0, …), ideally 1.
        goodput_to_rest: The same, by what the server can do where the generator shares its processors, and now takes
            more of them than while the capacity was measured.
        load: How it was borne.
    """

    times: float
    rate_per_s: float
    goodput_to_capacity: float
    goodput_to_rest: float
    load: LoadReport

    @classmethod
    def of(cls, times: float, capacity: LoadReport, load: LoadReport, processors: int) -> Multiple:
        """What a load came to that was so many times the capacity, on a machine of so many processors."""
        capacity_per_s = capacity.answered_per_s
        left = left_by_generator(capacity.generator_processors, load.generator_processors, processors)
        goodput = load.goodput_per_s / capacity_per_s
        return cls(times, times * capacity_per_s, goodput, goodput / left, load)


def left_by_generator(before: float, now: float, processors: int) -> float:
    """Share of a server's capacity that a generator leaves it which now takes more of the processors than before.

    Args:
        before: Processors that it kept busy while the capacity was measured.
        now: Those that it keeps busy now.
        processors: Those that it shares with the server.
    """
    return 1 - min(max(now - before, 0.0) / processors, _MOST_TAKEN)


@dataclass(frozen=True)
class OverloadReport:
    """A server under more than it can do.

    Attributes:
        clients: Clients of the closed loop.
        capacity_per_s: Answers per second of the closed loop.
        capacity: The closed loop.
        processors: Those of this machine, which a server that runs here, too, shares with the generator.
        multiples: The open loops, in the order in which they were made.
        cut_short: Whether the measurement was stopped early.
    """

    clients: int
    capacity_per_s: float
    capacity: LoadReport
    processors: int
    multiples: Sequence[Multiple]
    cut_short: bool
