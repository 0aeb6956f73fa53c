"""`detector-grpc models load` and `unload`: orders to server processes, each of which is asked and reported."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape

from detector_grpc.cli.connection import Connection, connected_to_processes, json_option, sentence
from detector_grpc.client import CallFailed
from detector_grpc.client.admin import ModelAdmin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@dataclass(frozen=True)
class Report:
    """What one process has done, in a sentence and for programs, or else a fault in one sentence and as it came."""

    address: str
    done: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    failure: CallFailed | None = None

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {"address": self.address, **({"error": self.fault} if self.fault else self.facts)}


@click.command()
@connected_to_processes
@click.argument("model")
@click.argument("version")
@json_option
def load(connections: list[Connection], *, model: str, version: str, as_json: bool) -> None:
    """Have server processes load a version.

    Each loads VERSION of MODEL from its model repository or as its settings say, and answers once it is ready. One that
    holds the version already goes on answering with it until then, and leaves it as it is where no file has changed.
    Prints a line for each process; the exit code is 1 if one has failed.
    """
    _tell(loaded(connections, model, version), as_json=as_json)


def loaded(connections: list[Connection], model: str, version: str) -> list[Report]:
    """Has all processes load a version."""

    async def order(admin: ModelAdmin) -> tuple[str, dict[str, Any]]:
        ready = await admin.load(model, version)
        return f"{model} {version} is ready, {ready.digest}", ready.to_dict()

    return _given("loading", connections, order)


@click.command()
@connected_to_processes
@click.argument("model")
@click.argument("version")
@json_option
def unload(connections: list[Connection], *, model: str, version: str, as_json: bool) -> None:
    """Have server processes free a version.

    Each gives VERSION of MODEL to no further call, and answers once the calls that have it are over and it is freed.
    Prints a line for each process; the exit code is 1 if one has failed.
    """

    async def order(admin: ModelAdmin) -> tuple[str, dict[str, Any]]:
        was_default = await admin.unload(model, version)
        note = "; it was the default: calls that name no version are refused until it is loaded again"
        return f"{model} {version} is unloaded{note if was_default else ''}", {"was_default": was_default}

    _tell(_given("unloading", connections, order), as_json=as_json)


def _given(
    doing: str, connections: list[Connection], order: Callable[[ModelAdmin], Awaitable[tuple[str, dict[str, Any]]]]
) -> list[Report]:
    """Gives an order to all processes at once; what becomes of it, in their order."""

    async def ask(connection: Connection) -> Report:
        try:
            async with ModelAdmin(connection.address, token=connection.token, tls=connection.tls) as admin:
                done, facts = await order(admin)
        except CallFailed as failure:
            fault = sentence(failure, connection.address, "--admin-address")
            return Report(connection.address, fault=fault, failure=failure)
        return Report(connection.address, done, facts)

    async def ask_all() -> list[Report]:
        return await asyncio.gather(*map(ask, connections))

    with Console(stderr=True).status(doing):
        return asyncio.run(ask_all())


def _tell(reports: list[Report], *, as_json: bool) -> None:
    """Prints one line for each; the exit code is 1 if one is of a fault."""
    console = Console()
    for report in reports:
        if as_json:
            click.echo(json.dumps(report.as_json()))
        else:
            show(console, report)
    if any(report.fault for report in reports):
        raise click.exceptions.Exit(1)


def show(console: Console, report: Report) -> None:
    """Prints a line for people."""
    said = f"[red]Failed:[/] {escape(report.fault)}" if report.fault else escape(report.done)
    console.print(f"{escape(report.address)}: {said}", highlight=False, soft_wrap=True)
