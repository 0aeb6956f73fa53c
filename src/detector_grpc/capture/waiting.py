"""What waits in one spool, by the names of its files, which say all that decides which sample goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from detector_grpc.capture.sample import digest

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from detector_grpc.capture.sample import Sidecar

SUFFIX = ".sample"

_SCORES = 1000
_DIGITS = 32

First = Literal["oldest", "surest"]


class _Entry(NamedTuple):
    captured_at_s: float
    score: int
    size_bytes: int


class Waiting:
    """Samples by the name of their file. For one thread at a time.

    Attributes:
        size_bytes: Of all files.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def since_s(self) -> float | None:
        """When the oldest was captured, seconds since the epoch; None where there is none."""
        return min((each.captured_at_s for each in self._entries.values()), default=None)

    def add(self, name: str, size_bytes: int) -> None:
        """Has one wait."""
        self.remove(name)
        self._entries[name] = _parsed(name, size_bytes)
        self.size_bytes += size_bytes

    def remove(self, name: str) -> bool:
        """Has one wait no more; whether it did."""
        entry = self._entries.pop(name, None)
        if entry is not None:
            self.size_bytes -= entry.size_bytes
        return entry is not None

    def oldest(self, without: AbstractSet[str]) -> str | None:
        """The one that waits longest, but for some."""
        return min(self._entries.keys() - without, default=None)

    def first_to_go(self, first: First, without: AbstractSet[str]) -> str | None:
        """The one that goes where there is no more room, but for some."""

        def order(name: str) -> tuple[float, float]:
            entry = self._entries[name]
            return entry.score if first == "surest" else 0, entry.captured_at_s

        return min(self._entries.keys() - without, key=order, default=None)

    def before(self, time_s: float) -> list[str]:
        """Those that were captured before a time, seconds since the epoch."""
        return [name for name, each in self._entries.items() if each.captured_at_s < time_s]


def file_name(sidecar: Sidecar, data: bytes) -> str:
    """The name of the file of a sample with this content."""
    microseconds = round(sidecar.captured_at.timestamp() * 1e6)
    return f"{microseconds:017}-{round(sidecar.uncertainty.score * _SCORES):04}-{digest(data)[:_DIGITS]}{SUFFIX}"


def is_named_for(name: str, data: bytes) -> bool:
    """Whether a file has the content that its name says."""
    return digest(data)[:_DIGITS] in name


def _parsed(name: str, size_bytes: int) -> _Entry:
    """What a name says; one that says nothing is as old as can be, and is found out when it is read."""
    try:
        microseconds, score, _ = name.split("-")
        return _Entry(int(microseconds) / 1e6, int(score), size_bytes)
    except ValueError:
        return _Entry(0.0, 0, size_bytes)
