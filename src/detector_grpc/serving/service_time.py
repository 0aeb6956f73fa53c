"""How long a worker takes for jobs, as far as those before them tell."""

from __future__ import annotations

from math import sqrt

# As in "Congestion Avoidance and Control" (Jacobson and Karels 1988), which estimates round trips of TCP this way.
_GAIN = 1 / 8
_DEVIATION_GAIN = 1 / 4
_DEVIATIONS = 2

# A job that took far longer than others was kept from working, by a debugger or a machine that slept, and says little
# of the next one. If all of them do from now on, each of these steps is larger than the one before.
_LARGEST_STEP = 2


class ServiceTime:
    """Running mean and mean deviation.

    Attributes:
        mean_s: Seconds that a job takes on average; 0 while no job has told.
    """

    def __init__(self) -> None:
        self.mean_s = 0.0
        self._deviation_s = 0.0

    def most_s(self, jobs: int = 1) -> float:
        """Seconds that few exceed who do so many jobs, one after the other.

        Deviations of jobs that know nothing of each other cancel out in part: of a sum they grow as the root.
        """
        return jobs * self.mean_s + sqrt(jobs) * _DEVIATIONS * self._deviation_s

    def add(self, seconds: float) -> None:
        """Takes one more job into account."""
        if not self.mean_s:
            self.mean_s, self._deviation_s = seconds, seconds / 2
            return
        error = min(seconds, _LARGEST_STEP * self.most_s()) - self.mean_s
        self.mean_s += _GAIN * error
        self._deviation_s += _DEVIATION_GAIN * (abs(error) - self._deviation_s)
