"""From deviations of blocks to a state: evidence adds up while a feature deviates, and fades when it does not."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from detector_grpc.drift.expectation import Deviation

# One block adds at most this, however strange it is; so it takes two, of half as much again as is allowed.
MOST_OF_A_BLOCK = 0.75
WARNING_AT = 0.5
DRIFTED_AT = 1.0
# What is drifted, or warned of, stays so until every feature is below this.
CALM_BELOW = 0.25
# More than this is not remembered, so that a world that is as before is soon called so.
MOST = 2.0


class DriftState(Enum):
    """Whether the world has changed."""

    LEARNING = "learning"
    STABLE = "stable"
    WARNING = "warning"
    DRIFTED = "drifted"


class Evidence:
    """A cumulative sum for each feature (Page 1954) of how far blocks were beyond what is allowed, in parts of that.

    Attributes:
        state: What it amounts to; never LEARNING.
        sums: By the name of the feature, those that are not 0.
    """

    def __init__(self, state: DriftState = DriftState.STABLE, sums: Mapping[str, float] | None = None) -> None:
        self.state = state
        self.sums = dict(sums or {})

    def add(self, deviations: Mapping[str, Deviation], most: DriftState = DriftState.DRIFTED) -> DriftState:
        """Takes another block in, and returns the state; features that the block does not have stay as they are.

        Args:
            deviations: Of the block.
            most: The gravest state that may be concluded now. Of what is no more than a warning little is remembered,
                or a night's evidence would become an alarm in the morning.
        """
        limit = MOST if most is DriftState.DRIFTED else WARNING_AT
        for name, deviation in deviations.items():
            step = min(deviation.ratio - 1, MOST_OF_A_BLOCK)
            self.sums[name] = min(max(self.sums.get(name, 0.0) + step, 0.0), limit)
        self.sums = {name: value for name, value in self.sums.items() if value > 0}
        highest = max(self.sums.values(), default=0.0)
        if highest >= DRIFTED_AT and self.state is not DriftState.DRIFTED:
            self.state = most
        elif highest >= WARNING_AT and self.state is DriftState.STABLE:
            self.state = DriftState.WARNING
        elif highest < CALM_BELOW:
            self.state = DriftState.STABLE
        return self.state
