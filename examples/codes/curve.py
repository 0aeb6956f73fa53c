"""The learning curve of a training: a table that grows, and a picture of it."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def append(folder: Path, row: dict[str, float], sides: Sequence[int]) -> None:
    """Add a row to curve.csv, with `ap50_mean_SIDE` for each side, and draw curve.png anew."""
    file = folder / "curve.csv"
    is_new = not file.exists()
    with file.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    with file.open(newline="", encoding="utf-8") as stream:
        rows = [{name: float(value) for name, value in each.items()} for each in csv.DictReader(stream)]
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    pictures = [each["pictures"] for each in rows]
    for side in sides:
        axes.plot(pictures, [each[f"ap50_mean_{side}"] for each in rows], marker=".", label=f"shown at {side} px")
    if cooling := [each["pictures"] for each in rows if each["cooled"] > 0]:
        axes.axvspan(cooling[0], cooling[-1], alpha=0.15, label="the learning rate falls")
    axes.set(xlabel="pictures learnt", ylabel="AP50 in drawn pictures never learnt")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(folder / "curve.png", dpi=110)
