"""`detector-grpc samples stats`."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from detector_grpc.cli.connection import json_option
from detector_grpc.cli.samples.choosing import Chosen, choosing
from detector_grpc.cli.samples.listing import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from detector_grpc.capture.sample import Sidecar

BINS = 10
_BAR_WIDTH = 40


@click.command()
@choosing
@json_option
def stats(chosen: Chosen, *, as_json: bool) -> None:
    """Count samples by version, day, measure, reason and class, and draw how unsure the models were of them."""
    counts = _counts(chosen.sidecars)
    if as_json:
        click.echo(json.dumps({"place": chosen.sink.place, **counts}, indent=2))
        return
    console = Console()
    console.print(
        f"{counts['samples']} samples in {escape(chosen.sink.place)}, {counts['labelled']} of them labelled",
        highlight=False,
        soft_wrap=True,
    )
    if chosen.sidecars:
        console.print("\n[bold]uncertainty[/]")
        console.print(_bars(counts["uncertainty"]))
        for name in ("version", "day", "measure", "reason", "class"):
            if counts[name]:
                console.print(f"\n[bold]{name}[/]")
                console.print(_bars(counts[name]))


def _counts(sidecars: Sequence[Sidecar]) -> dict[str, Any]:
    # 0.6 is a little less than 6 of 10 parts of 1.
    tenths = Counter(min(int(sidecar.uncertainty.score * BINS + 1e-9), BINS - 1) for sidecar in sidecars)
    return {
        "samples": len(sidecars),
        "labelled": sum(sidecar.labels is not None for sidecar in sidecars),
        "uncertainty": {f"{tenth / BINS:.1f}": tenths[tenth] for tenth in range(BINS)},
        "version": _most(f"{sidecar.model} {sidecar.version}" for sidecar in sidecars),
        "day": dict(sorted(Counter(f"{sidecar.captured_at:%Y-%m-%d}" for sidecar in sidecars).items())),
        "measure": _most(sidecar.uncertainty.driver for sidecar in sidecars),
        "reason": _most(reason for sidecar in sidecars for reason in sidecar.reasons),
        "class": _most(box.class_name for sidecar in sidecars for box in sidecar.labels or sidecar.detections),
    }


def _most(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words).most_common())


def _bars(counts: Mapping[str, int]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right")
    table.add_column()
    table.add_column(justify="right")
    most = max(counts.values(), default=0) or 1
    for name, count in counts.items():
        table.add_row(shown(name), f"[cyan]{'█' * round(count / most * _BAR_WIDTH)}[/]", str(count))
    return table
