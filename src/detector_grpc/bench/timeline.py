"""How a measurement went, second by second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector_grpc.bench.percentiles import Percentiles

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Second:
    """What was due within one second.

    Attributes:
        at_s: When it began, since the window did.
        due: How many calls or frames were due.
        answered: How many of these were answered; of frames, looked at.
        p50_ms: Latency or age of the answered ones; None without any.
        p99_ms: As above.
    """

    at_s: int
    due: int
    answered: int
    p50_ms: float | None
    p99_ms: float | None


def timeline(events: Iterable[tuple[float, float | None]]) -> tuple[Second, ...]:
    """The seconds in which anything was due, in order.

    Args:
        events: When each call or frame was due, in seconds since the window began, and how many seconds it then took;
            None if it was not answered.
    """
    by_second: dict[int, list[float | None]] = {}
    for due_s, took_s in events:
        by_second.setdefault(max(int(due_s), 0), []).append(took_s)
    seconds = []
    for at_s, took in sorted(by_second.items()):
        answered = Percentiles.of([each for each in took if each is not None])
        if answered is None:
            seconds.append(Second(at_s, len(took), 0, None, None))
        else:
            seconds.append(Second(at_s, len(took), answered.count, answered.p50_ms, answered.p99_ms))
    return tuple(seconds)
