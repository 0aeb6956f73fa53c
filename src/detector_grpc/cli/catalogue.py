"""`detector-grpc models catalogue`: what can be pulled by name, and what is known of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Column, Table

from detector_grpc.cli.connection import json_option
from detector_grpc.errors import listed
from detector_grpc.hub import catalogue as hub

if TYPE_CHECKING:
    from detector_grpc.hub.catalogue import Entry


@click.command()
@json_option
def catalogue(*, as_json: bool) -> None:
    """List models that can be pulled by name: detectors of the 80 classes of COCO under MIT and Apache-2.0.

    Precision is mAP, IoU .50 to .95: what the makers publish for COCO val2017, and what this project has measured on
    100 photos of VOC2012, which are easier. The digest is `run here` where this project has run and measured that very
    file, `reported` where others report it of the release, and where there is none the file is taken as it comes.
    """
    entries = hub.catalogue().models
    if as_json:
        click.echo(json.dumps({name: _facts(entry) for name, entry in entries.items()}, indent=2))
        return
    right = [Column(name, justify="right", no_wrap=True) for name in ("MB", "input", "published", "measured")]
    table = Table(Column("name", no_wrap=True), Column("licence", no_wrap=True), *right, "digest")
    for name, entry in entries.items():
        table.add_row(
            name,
            entry.licence,
            f"{entry.files[0].size_bytes / 1e6:.1f}" if entry.files else "",
            "{1} x {0}".format(*entry.input_hw),
            "" if entry.published is None else f"{entry.published:.3f}",
            "" if entry.measured is None else f"{entry.measured:.3f}",
            _digest(entry),
        )
    console = Console()
    console.print(table)
    checkpoints = [name for name, entry in entries.items() if entry.needs == "export"]
    console.print(f"{listed(checkpoints)}: checkpoints of PyTorch, which `models pull` converts.")


def _digest(entry: Entry) -> str:
    if not entry.files:
        return "none"
    return "run here" if any(each.checked for each in entry.files) else "reported"


def _facts(entry: Entry) -> dict[str, Any]:
    return entry.model_dump(mode="json", exclude={"manifest"}) | {
        "manifest": entry.manifest.model_dump(mode="json", exclude_defaults=True)
    }
