"""Pictures of an evaluation: precision against recall, and which class was taken for which."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from detector_grpc.evaluation.bootstrap import RECALLS
from detector_grpc.figures import import_figure

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from detector_grpc.evaluation.report import Report, TargetReport

EXTRA = "evaluate"

# Blue and orange are told apart also by those who do not see red from green, and dashes by all where curves coincide.
_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "tab:blue", "linestyle": "-"},
    {"color": "tab:orange", "linestyle": "--"},
)
_DPI = 120
_PANEL_INCH = 1.8
_MOST_COLUMNS = 8
_CELL_INCH = 0.32
_DARK = 0.5
_LABEL_POINTS = 8


def save_plots(report: Report, folder: Path) -> list[Path]:
    """Writes `precision_recall.png`, and for each target `confusion_<name>.png`, and says which they are."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"precision_recall": _precision_recall(report)}
    for target in report.targets:
        figures[f"confusion_{target.name.replace('/', '_')}"] = _confusion(target)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=_DPI)
    return paths


def _precision_recall(report: Report) -> Figure:
    """A panel for each class that is there, and before them one for their mean; a curve for each target."""
    places = [place for place, each in enumerate(report.targets[0].classes) if each.boxes]
    count = len(places) + 1
    columns = min(_MOST_COLUMNS, math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    figure: Figure = import_figure(EXTRA)(
        figsize=(max(5, columns * _PANEL_INCH + 0.6), rows * (_PANEL_INCH + 0.45) + 1.2), layout="constrained"
    )
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    panels: list[Axes] = list(axes[:count])
    for panel in axes[count:]:
        panel.remove()
    for target, style in zip(report.targets, _STYLES, strict=False):
        classes = [target.classes[place] for place in places]
        mean = np.mean([each.precision50 for each in classes], axis=0)
        panels[0].plot(RECALLS, mean, **style, linewidth=2.5, label=target.name)
        for panel, each in zip(panels[1:], classes, strict=True):
            panel.plot(RECALLS, each.precision50, **style)
            if each.best:
                panel.plot(each.best.recall, each.best.precision, "o", color=style["color"], markersize=4)
    _title(panels[0], "mean of the classes", [target.metrics["mAP50"] for target in report.targets])
    for panel, place in zip(panels[1:], places, strict=True):
        of_targets = [target.classes[place] for target in report.targets]
        _title(panel, f"{of_targets[0].name} ({of_targets[0].boxes})", [each.ap50 for each in of_targets])
    panels[0].set(xlim=(0, 1.03), ylim=(0, 1.05), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    for place, panel in enumerate(panels):
        panel.grid(alpha=0.3)
        panel.tick_params(labelsize=_LABEL_POINTS, labelbottom=place + columns >= count)
    figure.supxlabel("recall at IoU 0.5 (in brackets: number of objects)", fontsize=_LABEL_POINTS + 2)
    figure.supylabel("precision", fontsize=_LABEL_POINTS + 2)
    best = panels[1].plot([], [], "o", color="grey", markersize=4, label="highest F1")
    handles = [*panels[0].get_lines(), *best]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return figure


def _title(panel: Axes, name: str, ap50: list[float | None]) -> None:
    panel.set_title(f"{name}\nAP50 {', '.join(f'{value:.2f}' for value in ap50)}", fontsize=_LABEL_POINTS)


def _confusion(target: TargetReport) -> Figure:
    """Counts, and as colour the share of a class's objects."""
    counts = np.array(target.confusion)
    names = [each.name for each in target.classes]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares[-1] = 0  # shares of what was marked; here nothing was
    side = max(4.5, len(counts) * _CELL_INCH + 2)
    figure: Figure = import_figure(EXTRA)(figsize=(side + 0.6, side), layout="constrained")
    axes: Axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        color = "white" if shares[row, column] > _DARK else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=_LABEL_POINTS)
    ticks = range(len(counts))
    axes.set_xticks(ticks, [*names, "not found"], rotation=90, fontsize=_LABEL_POINTS)
    axes.set_yticks(ticks, [*names, "nothing there"], fontsize=_LABEL_POINTS)
    axes.set(xlabel="found as", ylabel="marked as")
    axes.set_title(f"{target.name}: at IoU 0.5 and the best threshold of each class", fontsize=_LABEL_POINTS + 1)
    for border in ticks:
        is_last = border == len(names)
        for line in (axes.axhline, axes.axvline):
            line(border - 0.5, color="grey" if is_last else "lightgrey", linewidth=1 if is_last else 0.4)
    figure.colorbar(image, shrink=min(0.6, 4 / side), label="share of the marked objects")
    return figure
