"""What `drift simulate` tells, and when it begins and ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

if TYPE_CHECKING:
    from detector_grpc.drift.simulator import Replay

# After so many looks without any observation it is said why that may be; and so often, how far learning is.
_LOOKS_IN_VAIN = 15
_TELL_EVERY = 10
_CALM = frozenset({"LEARNING", "STABLE"})


class World:
    """What becomes of the world while it is looked at, and what is said of that.

    Args:
        replay: What it looks like.
        begins_when_stable: Whether it begins to change when it is STABLE; else the replay knows when.
        most: Pictures that are changed at most.

    Attributes:
        was_called: Whether drift was.
    """

    def __init__(self, replay: Replay, *, begins_when_stable: bool, most: int) -> None:
        self.was_called = False
        self._replay = replay
        self._begins_when_stable = begins_when_stable
        self._most = most
        self._console = Console()
        self._state = ""
        self._looks = 0

    @property
    def goes_on(self) -> bool:
        """Whether more pictures are to be looked at."""
        return not self.was_called and self._replay.changed < self._most

    def see(self, status: dict[str, Any] | None) -> None:
        """Tells of a new state, and begins the change if this is the moment."""
        self._looks += 1
        if status is None:
            if self._looks == _LOOKS_IN_VAIN:
                self._say("nothing has been observed so far; see DETECTOR_DRIFT_TARGET and …_SAMPLE_RATE of the server")
            return
        state, is_new = status["state"], status["state"] != self._state
        if is_new and not self._replay.changed and state == "DRIFTED":
            raise click.ClickException(f"it is DRIFTED before anything was changed: {_why(status)}")
        if is_new or (state == "LEARNING" and self._looks % _TELL_EVERY == 0):
            self._say(f"{state}{_learning(status)}" if state in _CALM else f"{state}: {_why(status)}")
        self._state = state
        self.was_called = state == "DRIFTED"
        if self._begins_when_stable and state == "STABLE" and not self._replay.has_begun:
            self._replay.begin()
            self._say("from now on all pictures are changed")

    def _say(self, words: str) -> None:
        replay = self._replay
        pictures = f"{replay.changed} changed pictures" if replay.changed else f"{replay.read} pictures"
        self._console.print(f"{pictures:>24}  {words}", highlight=False, markup=False, soft_wrap=True)


def _learning(status: dict[str, Any]) -> str:
    needed = status["observations_needed"]
    return f", {status['observations']} of {needed} observations" if needed else ""


def _why(status: dict[str, Any]) -> str:
    return "; ".join(each["words"] for each in status["features"] if each["drifted"])
