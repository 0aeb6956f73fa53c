"""`detector-grpc samples list`."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from detector_grpc.cli.connection import json_option
from detector_grpc.cli.samples.choosing import Chosen, choosing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from detector_grpc.capture.sample import Sidecar


@click.command("list")
@choosing
@click.option("--most", type=click.IntRange(1), default=50, show_default=True, help="Most samples to list.")
@json_option
def list_(chosen: Chosen, *, most: int, as_json: bool) -> None:
    """List samples, the most uncertain first.

    With --json, a line for each with all that is known of it.
    """
    listed = chosen.most_uncertain(most)
    if as_json:
        for sidecar in listed:
            click.echo(json.dumps({"key": sidecar.keys.picture, **json.loads(sidecar.to_json())}))
        return
    console = Console()
    if listed:
        console.print(_table(listed))
    more = f", of which the {len(listed)} most uncertain are listed" if len(listed) < len(chosen.sidecars) else ""
    console.print(
        f"{len(chosen.sidecars)} samples in {escape(chosen.sink.place)}{more}", highlight=False, soft_wrap=True
    )


def _table(sidecars: Sequence[Sidecar]) -> Table:
    # On a narrow terminal what was seen is wrapped, and nothing else.
    table = Table(
        Column("unsure", justify="right"),
        Column("captured (UTC)", no_wrap=True),
        Column("version", no_wrap=True),
        "the model saw",
        "people saw",
        Column("sample", no_wrap=True),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for each in sidecars:
        table.add_row(
            f"{each.uncertainty.score:.2f}",
            f"{each.captured_at:%Y-%m-%d %H:%M}",
            shown(f"{each.model} {each.version}"),
            shown(counted(found.class_name for found in each.detections)),
            "" if each.labels is None else shown(counted(label.class_name for label in each.labels)),
            each.sha256[:8],
        )
    return table


def shown(text: str) -> str:
    """A text of a sample as the console is to show it: nothing in it steers a terminal."""
    return escape("".join(each if each.isprintable() else "�" for each in text))


def counted(names: Iterable[str]) -> str:
    """Names with how often they come, the most frequent first."""
    counts = Counter(names).most_common()
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts) or "nothing"
