"""What `models evaluate` tells people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml
from rich import box
from rich.markup import escape
from rich.table import Column, Table

from detector_grpc.errors import listed
from detector_grpc.evaluation.report import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from detector_grpc.evaluation.report import Difference, Report, TargetReport


def show(out: Console, report: Report, written: Sequence[Path]) -> None:
    """Prints everything, and where what is not for the terminal was written."""

    def say(text: str) -> None:
        out.print(text, highlight=False, soft_wrap=True)

    crowds = f", and {report.crowds} marked as crowds, which neither count nor harm" if report.crowds else ""
    say(f"{report.pictures} pictures, {report.boxes} objects to find{crowds}")
    if skipped := report.skipped.pictures:
        named = listed(f"{name} ({reason})" for name, reason in skipped.items())
        say(f"[yellow]Left out[/] pictures ({len(skipped)}): {escape(named)}")
    if unknown := report.skipped.categories:
        named = listed(f"{name} ({boxes})" for name, boxes in unknown.items())
        say(f"[yellow]Left out[/] categories that a model does not know ({len(unknown)}): {escape(named)}")
    out.print(_metrics(report))
    for name, difference in report.differences.items():
        say(escape(verdict(name, difference, report)) + "\n")
    for target in report.targets:
        out.print(_classes(target))
        if target.unmarked:
            say(f"Not judged, as the annotations have no such category: {escape(listed(target.unmarked))}\n")
    out.print(_latency(report))
    for target in report.targets:
        say(f"The thresholds above, for the manifest.yaml of [bold]{escape(target.name)}[/]:\n")
        say(escape(options_block(target, multi_label=report.setting.multi_label)) + "\n")
    if written:
        say(f"Written: {escape(', '.join(map(str, written)))}")


def verdict(metric: str, difference: Difference, report: Report) -> str:
    """Whether two targets differ, in a sentence."""
    first, second = (target.name for target in report.targets)
    low, high = difference.interval.low, difference.interval.high
    if difference.is_distinguishable:
        better = second if difference.value > 0 else first
        judgement = f"distinguishable from noise: {better} is better"
    else:
        judgement = f"not distinguishable from noise: {report.pictures} other pictures could say the opposite"
    return (
        f"{metric} of {second} against {first}: {difference.value:+.3f} "
        f"(95 % interval {low:+.3f} to {high:+.3f}), {judgement}."
    )


def options_block(target: TargetReport, *, multi_label: bool) -> str:
    """The operating point for manifest.yaml."""
    options = {
        "iou_threshold": target.iou_threshold,
        "multi_label": multi_label,
        "class_confidence_thresholds": {
            each.name: each.best.confidence_threshold for each in target.classes if each.best
        },
    }
    return yaml.safe_dump({"options": options}, sort_keys=False, allow_unicode=True).rstrip()


def _metrics(report: Report) -> Table:
    table = _table("", *(Column(escape(target.name)) for target in report.targets))
    for name in METRICS:
        table.add_row(name, *(_value(target.metrics[name]) + _interval(target, name) for target in report.targets))
    return table


def _interval(target: TargetReport, metric: str) -> str:
    interval = target.intervals.get(metric)
    return "" if interval is None else f" ({interval.low:.3f} to {interval.high:.3f})"


def _classes(target: TargetReport) -> Table:
    table = _table(escape(target.name), *_numbers("boxes", "AP50-95", "AP50", "AR", "threshold", "precision", "recall"))
    for each in target.classes:
        best = each.best
        at_best = (best.confidence_threshold, best.precision, best.recall) if best else (None,) * 3
        table.add_row(escape(each.name), str(each.boxes), *map(_value, (each.ap50_95, each.ap50, each.ar, *at_best)))
    return table


def _latency(report: Report) -> Table:
    stages = [*report.targets[0].latency]
    table = _table(f"ms, {report.setting.workers} at once", "", *_numbers(*stages))
    for target in report.targets:
        table.add_row(escape(target.name), "median", *(f"{target.latency[stage].median_ms:.1f}" for stage in stages))
        table.add_row("", "p95", *(f"{target.latency[stage].p95_ms:.1f}" for stage in stages))
    return table


def _table(*columns: Column | str) -> Table:
    """A table that leaves the most room for names."""
    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)


def _numbers(*names: str) -> list[Column]:
    return [Column(name, justify="right", no_wrap=True) for name in names]


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
