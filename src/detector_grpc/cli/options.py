"""Flags for every setting, made from the settings themselves."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detector_grpc import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic.fields import FieldInfo


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command a flag for every setting, `--config`, and the resulting Settings as its first argument.

    Raises:
        SetupInvalid: From the command, where settings are wrong.
    """
    parameters = {path.replace(".", "_"): path for path, _, _ in settings.variables()}

    @functools.wraps(command)
    def run(*, config: Path | None, **arguments: object) -> None:
        flags = {parameters[name]: arguments.pop(name) for name in list(arguments) if name in parameters}
        given = {path: value for path, value in flags.items() if value is not None}
        command(settings.load(given, config), **arguments)

    flagged: Callable[..., None] = run
    for path, variable, field in reversed(list(settings.variables())):
        flagged = _flag(path, variable, field)(flagged)
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        envvar=settings.FILE_VARIABLE,
        show_envvar=True,
        metavar="FILE",
        help="YAML file with settings, a mapping per section.",
    )(flagged)


def _flag(path: str, variable: str, field: FieldInfo) -> Callable[[Callable[..., None]], Callable[..., None]]:
    name = path.replace(".", "-").replace("_", "-")
    help_text = f"{field.description}  [env: {variable}; default: {settings.default_text(field)}]"
    if field.annotation is bool:
        return click.option(f"--{name}/--no-{name}", path.replace(".", "_"), default=None, help=help_text)
    return click.option(f"--{name}", path.replace(".", "_"), metavar="VALUE", help=help_text)
