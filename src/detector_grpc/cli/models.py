"""`detector-grpc models`: the group, and what a server holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from detector_grpc.cli import Lazy, LazyGroup
from detector_grpc.cli.connection import Connection, connected, json_option
from detector_grpc.client import Detector

if TYPE_CHECKING:
    from detector_grpc.client import ModelVersion

_STATE_STYLES = {"READY": "green", "LOADING": "yellow", "FAILED": "red"}
_DIGEST_DIGITS = 8  # with more, the table would not fit into 80 columns


@click.group(
    cls=LazyGroup,
    lazy={
        "setup": Lazy("setup:setup", "Set up two versions of a detector of everyday things, and try them."),
        "catalogue": Lazy("catalogue:catalogue", "List models that can be pulled by name."),
        "pull": Lazy("pull:pull", "Bring a model into a model repository."),
        "convert": Lazy("convert:convert", "Make a model of a checkpoint of PyTorch."),
        "list": Lazy("models:list_", "List what a server holds."),
        "load": Lazy("orders:load", "Have server processes load a version."),
        "unload": Lazy("orders:unload", "Have server processes free a version."),
        "inspect": Lazy("inspect:inspect", "Say how a model file would be served, and why."),
        "evaluate": Lazy("evaluate:evaluate", "Compare what models find with what people have marked."),
        "optimize": Lazy("optimize:optimize", "Make a version smaller or faster, and say what that costs."),
        "bless": Lazy("bless:bless", "Make what a version finds now what it must always find."),
    },
)
def models() -> None:
    """Work with models."""


@click.command("list")
@connected
@json_option
def list_(connection: Connection, *, as_json: bool) -> None:
    """List all versions of all models; the default one is marked with a star."""
    with Detector(connection.address, token=connection.token, tls=connection.tls) as detector:
        versions = detector.models()
    if as_json:
        click.echo(json.dumps([version.to_dict() for version in versions], indent=2))
    else:
        Console().print(_table(versions))


def _table(versions: list[ModelVersion]) -> Table:
    table = Table("model", "version", "state", "input", "classes", "head", "provider", "digest")
    for version in versions:
        state = f"{version.state}: {version.state_message}" if version.state_message else version.state
        table.add_row(
            escape(version.model),
            escape(version.version) + (" *" if version.is_default else ""),
            Text(state, _STATE_STYLES.get(version.state, "")),
            "{} x {}".format(*version.input_wh) if version.input_wh else "",
            str(len(version.class_names) or ""),
            version.head,
            version.execution_provider.removesuffix("ExecutionProvider"),
            version.digest.removeprefix("sha256:")[:_DIGEST_DIGITS],
        )
    return table
