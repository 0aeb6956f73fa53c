"""Average precision against the number of labels, for each way to choose them, and what one way saves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

CAPTURED, RANDOM = "captured", "random"
ARMS = (CAPTURED, RANDOM)
BASE = "base"  # what the first model reaches, without any labels of served pictures


class Curves:
    """What the seeds came to.

    Args:
        results: Of each seed, the average precision by `<arm>-<number of labels>`, and `base-0`. Numbers of labels that
            are not there for every arm and seed are left out.

    Attributes:
        counts: Numbers of labels, rising, from 0 on.
        precision: By arm, float64 (seeds, counts).
    """

    def __init__(self, results: list[Mapping[str, float]]) -> None:
        names = [f"{arm}-{{}}" for arm in ARMS]
        counts = sorted({int(name.rsplit("-", 1)[1]) for result in results for name in result} - {0})
        complete = [n for n in counts if all(name.format(n) in result for result in results for name in names)]
        self.counts = [0, *complete]
        self.precision: dict[str, NDArray[np.float64]] = {
            arm: np.array([[result[f"{BASE}-0"], *(result[f"{arm}-{n}"] for n in complete)] for result in results])
            for arm in ARMS
        }

    def needed(self, precision: float, seed: int) -> float:
        """Captured labels that reach a precision, between the counts on a line; infinite where none of them do."""
        reached = np.maximum.accumulate(self.precision[CAPTURED][seed])
        place = int(np.searchsorted(reached, precision))
        if place == 0:
            return 0.0
        if place == len(reached):
            return float("inf")
        below, above = reached[place - 1 : place + 1]
        first, last = self.counts[place - 1 : place + 1]
        return float(first + (last - first) * (precision - below) / (above - below))

    def shares(self, count: int) -> list[float]:
        """Of each seed: captured labels that reach what `count` random ones reach, as a share of these."""
        column = self.counts.index(count)
        return [self.needed(self.precision[RANDOM][seed, column], seed) / count for seed in range(self.seeds)]

    @property
    def seeds(self) -> int:
        """Their number."""
        return len(self.precision[RANDOM])

    def table(self) -> str:
        """Mean and standard deviation of the seeds, and the labels that capturing takes, in Markdown."""
        lines = [
            "| labels | captured | random | captured better in | captured labels that reach the random ones' mAP50 |"
        ]
        lines.append("|---|---|---|---|---|")
        for column, count in enumerate(self.counts):
            captured, random = (self.precision[arm][:, column] for arm in ARMS)
            if not count:
                lines.append(f"| 0 | {_spread(captured)} | the same | | |")
                continue
            shares = sorted(self.shares(count))
            reach = " ".join("more" if share == float("inf") else f"{share:.0%}" for share in shares)
            wins = f"{int((captured > random).sum())} of {self.seeds}"
            lines.append(f"| {count} | {_spread(captured)} | {_spread(random)} | {wins} | {reach} |")
        return "\n".join(lines)

    def plot(self, file: Path) -> None:
        """Write a picture of the curves: means, a bar of one standard deviation, and each seed as a thin line."""
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.subplots()
        for arm, colour in zip(ARMS, ("tab:orange", "tab:blue"), strict=True):
            precision = self.precision[arm]
            axes.plot(self.counts, precision.T, color=colour, alpha=0.25, linewidth=0.8)
            spread = precision.std(axis=0, ddof=1) if self.seeds > 1 else None
            axes.errorbar(
                self.counts, precision.mean(axis=0), yerr=spread, color=colour, marker="o", capsize=3, label=arm
            )
        axes.set(xlabel="pictures labelled", ylabel=f"mAP50 in the served world, {self.seeds} seeds")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
        figure.savefig(file)


def read(folder: Path) -> Curves:
    """Return what an experiment has come to until now."""
    files = sorted(folder.glob("seed-*/results.json"))
    contents = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return Curves([{name: each["mean"] for name, each in content.items()} for content in contents])


def _spread(values: NDArray[np.float64]) -> str:
    deviation = values.std(ddof=1) if len(values) > 1 else 0.0
    return f"{values.mean():.3f} ± {deviation:.3f}"
