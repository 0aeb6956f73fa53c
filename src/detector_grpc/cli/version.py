"""How the commands that work on a version without a server are told which one, and what runs it."""

from __future__ import annotations

import functools
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detector_grpc.errors import ModelInvalid
from detector_grpc.serving import repository
from detector_grpc.serving.providers import opening
from detector_grpc.serving.session import CPU_PROVIDER, OnnxFile

if TYPE_CHECKING:
    from collections.abc import Callable

# Larger than what any server takes by default; whoever starts these commands chose the pictures.
MAX_PIXELS = 2**30


def with_version(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command a version as its first argument, and what opens its file as the second.

    A version that cannot be served ends the command with a sentence and exit code 1.
    """

    @click.argument("version", type=click.Path(exists=True, path_type=Path))
    @click.option("--provider", default=CPU_PROVIDER, show_default=True, help="ONNX Runtime execution provider.")
    @functools.wraps(command)
    def run(*, version: Path, provider: str, **arguments: object) -> None:
        open_file = partial(OnnxFile, open_session=opening(provider))
        try:
            command(repository.at(version), open_file, **arguments)
        except ModelInvalid as error:
            raise click.ClickException(error.message) from error

    return run
