"""Reads the project's pages."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
import yaml

from detector_grpc.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_OURS = re.compile(r"(?:^|(?<=\s)|(?<=/bin/))detector-grpc [a-z][^\n|&;#…]*", re.MULTILINE)

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(text: str, *languages: str) -> list[str]:
    """What stands in the blocks of these languages."""
    return [body for language, body in _FENCED.findall(text) if language in languages]


def rows(text: str) -> Iterator[tuple[str, list[str]]]:
    """The rows of all tables, without their heads, each with the heading that it stands below."""
    heading, head = "", True
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if not line.startswith("|"):
            head = True
        elif line.startswith("|---"):
            head = False
        elif not head:
            yield heading, [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def spans(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def commands(text: str) -> list[str]:
    """Every line of ours in the blocks of a shell and in backticks, without what stands before and after it."""
    whole = "\n".join((*blocks(text, "sh", ""), *spans(_FENCED.sub("", text)))).replace("\\\n", " ")
    return [line.strip() for line in _OURS.findall(whole)]


def alerts() -> set[str]:
    """Names of all alerts of the project."""
    files = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in (PROJECT / "monitoring").rglob("*.y*ml")]
    groups = [group for file in files if isinstance(file, dict) for group in file.get("groups", ())]
    return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


def check_command(line: str) -> None:
    """Whether the command line knows the command and its options; runs nothing.

    Raises:
        click.UsageError: It does not.
    """
    command: click.Command = main
    context = click.Context(command)
    words = shlex.split(line)[1:]
    while isinstance(command, click.Group):
        if not words or words[0].startswith("-"):
            break
        found = command.get_command(context, words[0])
        if found is None:
            raise click.UsageError(f"there is no command {words[0]}")
        command, words = found, words[1:]
        context = click.Context(command, parent=context)
    command.make_parser(context).parse_args(words)
