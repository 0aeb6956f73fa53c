"""Multiples of what a server can do: what of it is still done in time, and how the rest is turned away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector_grpc.bench.report import LoadReport


@dataclass(frozen=True)
class Multiple:
    """One open loop.

    Attributes:
        times: The rate as a multiple of the capacity.
        rate_per_s: Calls per second that were planned.
        goodput_to_capacity: Answers within the deadline by what the server can do. Range [0, …), ideally 1.
        load: How it was borne.
    """

    times: float
    rate_per_s: float
    goodput_to_capacity: float
    load: LoadReport

    @classmethod
    def of(cls, times: float, capacity_per_s: float, load: LoadReport) -> Multiple:
        """What a load came to that was so many times the capacity."""
        return cls(times, times * capacity_per_s, load.goodput_per_s / capacity_per_s, load)


@dataclass(frozen=True)
class OverloadReport:
    """A server under more than it can do.

    Attributes:
        clients: Clients of the closed loop.
        capacity_per_s: Answers per second of the closed loop.
        capacity: The closed loop.
        multiples: The open loops, in the order in which they were made.
        cut_short: Whether the measurement was stopped early.
    """

    clients: int
    capacity_per_s: float
    capacity: LoadReport
    multiples: Sequence[Multiple]
    cut_short: bool
