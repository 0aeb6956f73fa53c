"""Flags for every setting, made from the settings themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detector_grpc import settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


Command = Callable[..., None]


def with_settings(command: Command) -> Command:
    """Gives a command a flag for every setting, `--config`, and the resulting Settings as its first argument.

    Raises:
        SetupInvalid: From the command, where settings are wrong.
    """
    return _with_settings(command, lambda _: True)


def with_settings_of(*parts: str) -> Callable[[Command], Command]:
    """As `with_settings`, for a command whose help shows only the settings that concern it.

    Args:
        parts: Sections, and settings without a section.
    """
    return lambda command: _with_settings(command, lambda path: path.partition(".")[0] in parts)


def _with_settings(command: Command, shown: Callable[[str], bool]) -> Command:
    parameters = {path.replace(".", "_"): path for path, _, _ in settings.variables()}

    @functools.wraps(command)
    def run(*, config: Path | None, **arguments: object) -> None:
        flags = {parameters[name]: arguments.pop(name) for name in list(arguments) if name in parameters}
        given = {path: value for path, value in flags.items() if value is not None}
        command(settings.load(given, config), **arguments)

    flagged: Command = run
    for path, variable, field in reversed(list(settings.variables())):
        flagged = _flag(path, variable, field, hidden=not shown(path))(flagged)
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        envvar=settings.FILE_VARIABLE,
        show_envvar=True,
        metavar="FILE",
        help="YAML file with settings, a mapping per section.",
    )(flagged)


def _flag(path: str, variable: str, field: FieldInfo, *, hidden: bool) -> Callable[[Command], Command]:
    parameter = path.replace(".", "_")
    name = parameter.replace("_", "-")
    help_text = f"{field.description}  [env: {variable}; default: {settings.default_text(field)}]"
    if field.annotation is bool:
        return click.option(f"--{name}/--no-{name}", parameter, default=None, help=help_text, hidden=hidden)
    return click.option(f"--{name}", parameter, metavar="VALUE", help=help_text, hidden=hidden)
