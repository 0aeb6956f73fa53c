"""The command line: one file per group of commands, each imported only when its command runs."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

import click

import detector_grpc
from detector_grpc.errors import SetupInvalid

if TYPE_CHECKING:
    from typing import Any

USAGE_EXIT_CODE = 2

# gRPC's core writes lines of its own to standard error, beside the sentence that says the same.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # noqa: TID251 - not a setting of ours, and read by a C library


class Lazy(NamedTuple):
    """A command that is not imported yet: "module:attribute" below this package, and its line in the help."""

    target: str
    summary: str


class LazyGroup(click.Group):
    """A group whose commands are imported when they run; its help is written without importing any.

    What the operator has set up wrongly is printed as lines, without a traceback, whichever command finds it. So is
    that a disk is full.
    """

    def __init__(self, *args: Any, lazy: dict[str, Lazy], **kwargs: Any) -> None:  # noqa: ANN401  click's own
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of all commands."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Imports one command."""
        if cmd_name not in self._lazy:
            return None
        module, _, attribute = self._lazy[cmd_name].target.partition(":")
        command: click.Command = getattr(import_module(f"{__name__}.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Writes the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.summary) for name, lazy in self._lazy.items()])

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  click's own
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except SetupInvalid as error:
            for fault in error.faults:
                click.echo(f"Error: {fault}", err=True)
            ctx.exit(USAGE_EXIT_CODE)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            with contextlib.suppress(OSError):
                sys.stdout.close()  # or what is left in its buffer would fail once more, when Python ends
            raise click.ClickException(f"cannot write: {error.strerror}") from error


@click.group(
    cls=LazyGroup,
    lazy={
        "up": Lazy("up:up", "Serve over gRPC, REST and a page on this machine."),
        "serve": Lazy("serve:serve", "Serve models over gRPC."),
        "engine": Lazy("engine:engine", "Run models on GPUs for several servers."),
        "detect": Lazy("detect:detect", "Find objects in pictures."),
        "stream": Lazy("stream.command:stream", "Find objects in video."),
        "bench": Lazy("bench.group:bench", "Measure what a server can do."),
        "models": Lazy("models:models", "Work with models."),
        "gateway": Lazy("gateway:gateway", "Put Envoy in front of servers."),
        "traffic": Lazy("traffic:traffic", "Share traffic among versions."),
        "drift": Lazy("drift:drift", "Know when the world has changed."),
        "samples": Lazy("samples:samples", "Keep the pictures that a model was unsure of."),
        "health": Lazy("health:health", "Say whether a server or a gateway can answer."),
        "doctor": Lazy("doctor:doctor", "Check this machine and its settings."),
    },
)
@click.version_option(detector_grpc.__version__)
def main() -> None:
    """Real-time object detection over gRPC."""
