"""`detector-grpc drift status` and `watch`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from detector_grpc.cli.connection import json_option, sentence
from detector_grpc.cli.drift.connection import STARTER, ask, connected_to_drift
from detector_grpc.cli.numbers import Finite
from detector_grpc.client import CallFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from detector_grpc.cli.connection import Connection

_STYLES = {"LEARNING": "cyan", "STABLE": "green", "WARNING": "yellow", "DRIFTED": "bold red"}
_MOST_CALM = 3
_PLOT_WIDTH = 28
_QUANTILES = 5


@click.command()
@connected_to_drift
@click.argument("model", default="")
@click.argument("version", default="")
@click.option("--all", "all_features", is_flag=True, help="Show all features, not only those that moved most.")
@json_option
def status(connection: Connection, *, model: str, version: str, all_features: bool, as_json: bool) -> None:
    """Say whether the world has changed for VERSION of MODEL, or for all that are watched, and how.

    The exit code is 1 if one is drifted.
    """
    statuses = ask(connection, lambda drift: drift.status(model, version))
    if as_json:
        click.echo(json.dumps(statuses, indent=2))
    else:
        Console().print(_page(statuses, all_features=all_features))
    if any(each["state"] == "DRIFTED" for each in statuses):
        raise click.exceptions.Exit(1)


@click.command()
@connected_to_drift
@click.argument("model", default="")
@click.argument("version", default="")
@click.option("--every", default=2.0, show_default=True, type=Finite(0.1), help="Seconds between two looks.")
def watch(connection: Connection, *, model: str, version: str, every: float) -> None:
    """Say it again and again, until Ctrl-C; also after an answer that did not come."""
    page = _page(ask(connection, lambda drift: drift.status(model, version)), all_features=False)
    with Live(page, console=Console(), auto_refresh=False) as live:
        while True:
            time.sleep(every)
            try:
                statuses = ask(connection, lambda drift: drift.status(model, version))
            except CallFailed as failure:
                live.update(
                    Group(page, Text(sentence(failure, connection.address, starter=STARTER), "red")), refresh=True
                )
            else:
                page = _page(statuses, all_features=False)
                live.update(page, refresh=True)


def _page(statuses: Sequence[dict[str, Any]], *, all_features: bool) -> RenderableType:
    if not statuses:
        return Text("Nothing is watched yet: no server has told of a picture.")
    return Group(*(part for each in statuses for part in _version(each, all_features=all_features)))


def _version(of: dict[str, Any], *, all_features: bool) -> Iterator[RenderableType]:
    state = Text(of["state"], _STYLES[of["state"]])
    yield Text.assemble((f"{of['model']} {of['version']}", "bold"), "  ", state, f"  since {of['since']}")
    yield _compared(of)
    if not of["stored"]:
        yield Text("What is known is not on disk: see the log of `drift serve`.", "yellow")
    features = [each for each in of["features"] if all_features or each["drifted"]]
    features = features or of["features"][:_MOST_CALM]
    if features:
        yield _table(features)
    for group in of["groups"]:
        words = "; ".join(each["words"] for each in group["features"])
        yield Text.assemble(f"  stream {group['stream_id']}  ", (group["state"], _STYLES[group["state"]]), f"  {words}")
    yield Text()


def _compared(of: dict[str, Any]) -> Text:
    latest = f"; latest observation {of['latest']}" if "latest" in of else ""
    if needed := of["observations_needed"]:
        return Text(f"{of['observations']} of {needed} observations that are learned from{latest}")
    reference = of["reference"]
    compared = f"compared with {reference['source']}, made {reference['made']}"
    unknown = "" if reference["knows_hour"] else "; it does not tell of this time of day, so this is no alarm"
    return Text(f"{compared}{unknown}; {of['drifted_share']:.0%} of the features differ{latest}")


def _table(features: Sequence[dict[str, Any]]) -> Table:
    table = Table("what happened", "x allowed", "before, now", box=None, pad_edge=False)
    for each in features:
        style = "red" if each["drifted"] else ""
        ratio = f"{each['ratio']:.1f}"
        table.add_row(Text(each["words"], style), ratio, _plot(each))
    return table


def _plot(feature: dict[str, Any]) -> str:
    """Quantiles 0.05 to 0.95 of before and now as two lines of one scale: the middle half thick, the median a dot."""
    before, now = feature["reference_quantiles"], feature["current_quantiles"]
    if len(before) != _QUANTILES or len(now) != _QUANTILES:
        return ""
    low, high = min(before[0], now[0]), max(before[-1], now[-1])
    scale = (_PLOT_WIDTH - 1) / (high - low) if high > low else 0.0
    return "\n".join(_line([round((each - low) * scale) for each in line]) for line in (before, now))


def _line(places: Sequence[int]) -> str:
    first, begin, middle, end, last = places
    marks = [" "] * _PLOT_WIDTH
    marks[first : last + 1] = "─" * (last + 1 - first)
    marks[begin : end + 1] = "━" * (end + 1 - begin)
    marks[middle] = "●"
    return "".join(marks)
