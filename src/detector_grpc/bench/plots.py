"""Plots of measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from detector_grpc.figures import import_figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from detector_grpc.bench.overload import OverloadReport
    from detector_grpc.bench.percentiles import Percentiles
    from detector_grpc.bench.search import SearchReport
    from detector_grpc.bench.timeline import Second

EXTRA = "bench"
SUFFIXES = (".svg", ".png")

_DPI = 120
_SHARES = np.array([0, 0.5, 0.9, 0.99, 0.999, 0.9999])
_BLUE, _ORANGE, _GREY = "tab:blue", "tab:orange", "grey"


def plot_over_time(
    title: str, durations_s: Mapping[str, Sequence[float]], seconds: Sequence[Second], answered: str
) -> Figure:
    """Durations by percentile, and how they and their number went over time.

    Args:
        title: Of the whole.
        durations_s: By name; of each all durations.
        seconds: The measurement, second by second.
        answered: What became of those that are counted as answered.
    """
    figure: Figure = import_figure(EXTRA)(figsize=(10, 4.5), dpi=_DPI, layout="constrained")
    panels = figure.subplot_mosaic([["percentiles", "numbers"], ["percentiles", "times"]])
    figure.suptitle(title)
    for (name, values), style in zip(durations_s.items(), ("-", "--"), strict=False):
        _percentiles(panels["percentiles"], name, values, style)
    _percentile_axis(panels["percentiles"])
    edges = [each.at_s for each in seconds] + [seconds[-1].at_s + 1 if seconds else 0]
    numbers, times = panels["numbers"], panels["times"]
    numbers.stairs([each.due for each in seconds], edges, fill=True, color=_GREY, alpha=0.3, label="due")
    numbers.stairs([each.answered for each in seconds], edges, color=_BLUE, label=answered)
    numbers.set(ylabel="per second", ylim=(0, None))
    for name, color in (("p50", _BLUE), ("p99", _ORANGE)):
        values_ms = [_known(getattr(each, f"{name}_ms")) for each in seconds]
        times.plot([each.at_s + 0.5 for each in seconds], values_ms, ".-", color=color, label=name)
    times.set(ylabel="ms", xlabel="time, s")
    times.sharex(numbers)
    _logarithmic(times, "y")
    for panel in (numbers, times):
        panel.grid(alpha=0.3)
        panel.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def plot_search(title: str, report: SearchReport) -> Figure:
    """The 99th percentile over the rate."""
    figure: Figure = import_figure(EXTRA)(figsize=(7, 4.5), dpi=_DPI, layout="constrained")
    axes: Axes = figure.subplots()
    axes.set_title(title)
    measured = [step for step in report.steps if step.load.latency is not None]
    for within, marker, color, label in (
        (True, "o", _BLUE, "within"),
        (False, "x", _ORANGE, "too high (stopped early)"),
    ):
        chosen = [step for step in measured if step.within is within]
        axes.plot(
            [step.rate_per_s for step in chosen],
            [_p99(step.load.latency) for step in chosen],
            marker,
            color=color,
            label=label,
        )
    axes.axhline(report.p99_bound_ms, color=_GREY, linestyle="--", label="bound")
    if report.highest_per_s is not None:
        axes.axvline(report.highest_per_s, color=_BLUE, linestyle=":", label=f"{report.highest_per_s:.1f} per second")
    axes.set(xlabel="calls per second", ylabel="p99 of the answered, ms")
    _logarithmic(axes, "x")
    _logarithmic(axes, "y")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def plot_overload(title: str, report: OverloadReport) -> Figure:
    """Goodput over the rate, and how soon calls are answered and refused."""
    figure: Figure = import_figure(EXTRA)(figsize=(10, 4.2), dpi=_DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    figure.suptitle(title)
    runs = sorted(report.multiples, key=lambda run: run.rate_per_s)
    rates = [run.rate_per_s for run in runs]
    left.plot(rates, [run.load.goodput_per_s for run in runs], "o-", color=_BLUE, label="goodput")
    left.axhline(report.capacity_per_s, color=_GREY, linestyle="--", label="capacity")
    left.set(xlabel="calls per second", ylabel="answers in time per second", xlim=(0, None), ylim=(0, None))
    for name, values, color in (
        ("answered", [run.load.latency for run in runs], _BLUE),
        ("refused", [run.load.refused for run in runs], _ORANGE),
    ):
        right.plot(rates, [_p99(each) for each in values], "o-", color=color, label=name)
    right.set(xlabel="calls per second", ylabel="p99, ms", xlim=(0, None))
    _logarithmic(right, "y")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def _percentiles(axes: Axes, name: str, values_s: Sequence[float], style: str) -> None:
    """A step for each value; the further to the right, the fewer values are above."""
    ordered = np.sort(np.asarray(values_s)) * 1e3
    above = 1 - np.arange(len(ordered)) / max(len(ordered), 1)
    axes.step(1 / above, ordered, where="post", linestyle=style, color=_BLUE, label=name)


def _percentile_axis(axes: Axes) -> None:
    axes.set(xscale="log", xlabel="percentile", ylabel="ms")
    axes.set_xticks(1 / (1 - _SHARES), [f"{share * 100:g}" for share in _SHARES])
    axes.xaxis.minorticks_off()
    axes.set_xlim(1, None)
    _logarithmic(axes, "y")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def _logarithmic(axes: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis with 1, 2, 5, 10, … and not powers of ten; without numbers where there is nothing to show."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter  # noqa: PLC0415 - as in figures.py

    axis, smallest = {"x": (axes.xaxis, axes.dataLim.minposx), "y": (axes.yaxis, axes.dataLim.minposy)}[which]
    if not np.isfinite(smallest):
        axis.set_ticks([])
        axes.text(0.5, 0.5, "nothing was answered", ha="center", va="center", transform=axes.transAxes)
        return
    axes.set(**{f"{which}scale": "log"})
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _p99(of: Percentiles | None) -> float:
    return np.nan if of is None else of.p99_ms


def _known(value: float | None) -> float:
    return np.nan if value is None else value
