"""What the benchmarks are asked alike."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detector_grpc.bench.plots import EXTRA, SUFFIXES
from detector_grpc.cli.connection import Connection, connected, json_option
from detector_grpc.cli.detect import pictures_at
from detector_grpc.cli.detecting import Detecting, detecting
from detector_grpc.cli.health import BUNDLED_PICTURE
from detector_grpc.cli.numbers import Finite
from detector_grpc.figures import import_figure

if TYPE_CHECKING:
    from collections.abc import Callable

# A gigabyte or two of what is remembered of them.
MOST_CALLS = 2_000_000


# A day, and what a caller may be thought to wait: longer is a slip of the finger.
MOST_SECONDS = 86_400
MOST_DEADLINE_MS = 3_600_000

# From here on a number is shorter by its power of ten.
_LONG = 1e15

POSITIVE = Finite(min=0, min_open=True)


def seconds_option(default: float, help_text: str = "How long to measure.") -> Callable[..., Callable[..., None]]:
    """How long the window is."""
    return click.option(
        "--seconds", type=Finite(0, MOST_SECONDS, min_open=True), default=default, show_default=True, help=help_text
    )


def deadline_option(default_ms: float) -> Callable[..., Callable[..., None]]:
    """How long callers wait, in milliseconds."""
    return click.option(
        "--deadline-ms",
        type=Finite(0, MOST_DEADLINE_MS, min_open=True),
        default=default_ms,
        show_default=True,
        help="Longest that a call may take.",
    )


_OPTIONS = (
    click.argument("pictures", nargs=-1, type=click.Path(exists=True, path_type=Path)),
    click.option(
        "--connections", type=click.IntRange(1, 1024), default=4, show_default=True, help="Connections to the server."
    ),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of arrivals and phases."),
    click.option(
        "--warm-up-s",
        type=Finite(0, 3600),
        default=2.0,
        show_default=True,
        help="Time under the same load that is not counted, before each measurement.",
    ),
    click.option("--plot", type=click.Path(path_type=Path), help="File for a plot, .svg or .png."),
)


@dataclass(frozen=True)
class Setup:
    """How to generate load.

    Attributes:
        connection: Where to call.
        how: Which model to ask, and how.
        pictures: Files to send by turns.
        connections: Number of connections.
        seed: Of arrivals and phases.
        warm_up_s: Time that is not counted, before each measurement.
        plot: File for a plot, if any.
        as_json: Whether to print JSON.
    """

    connection: Connection
    how: Detecting
    pictures: list[Path]
    connections: int
    seed: int
    warm_up_s: float
    plot: Path | None
    as_json: bool


def generating(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command these options, and a Setup as its first argument."""

    @functools.wraps(command)
    def run(
        connection: Connection,
        *,
        how: Detecting,
        pictures: tuple[Path, ...],
        connections: int,
        seed: int,
        warm_up_s: float,
        plot: Path | None,
        as_json: bool,
        **others: object,
    ) -> None:
        files = [file for path in pictures or (Path(BUNDLED_PICTURE),) for file in pictures_at(path)]
        if plot is not None:
            if plot.suffix.lower() not in SUFFIXES:
                raise click.UsageError(f"--plot names a file that ends with {' or '.join(SUFFIXES)}")
            if plot.is_dir():
                raise click.UsageError("--plot names a file, not a folder")
            import_figure(EXTRA)  # or it would be missed only when all is measured
        command(Setup(connection, how, files, connections, seed, warm_up_s, plot, as_json), **others)

    flagged = detecting(run)
    for option in reversed(_OPTIONS):
        flagged = option(flagged)
    return connected(json_option(flagged))


def check_calls(rate_per_s: float, seconds: float) -> None:
    """Refuses a measurement whose calls could not be kept in memory.

    Raises:
        UsageError: There would be too many.
    """
    calls = rate_per_s * seconds
    if calls > MOST_CALLS:
        number = f"{calls:,.0f}" if calls < _LONG else f"{calls:.1e}"
        raise click.UsageError(f"that would be {number} calls, more than the {MOST_CALLS:,} of one measurement")
