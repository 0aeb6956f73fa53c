"""One run of a benchmark: connections, Ctrl-C, the progress bar, and what is printed and written at the end."""

from __future__ import annotations

import asyncio
import json
import math
import signal
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click
import uvloop
from rich.console import Console
from rich.markup import escape

import detector_grpc
from detector_grpc.cli.bench.tables import say
from detector_grpc.cli.progress import progress_bar
from detector_grpc.client.bare import BareDetector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from matplotlib.figure import Figure
    from rich.progress import Progress

    from detector_grpc.cli.bench.setup import Setup
    from detector_grpc.client import DetectionResult

ReportT = TypeVar("ReportT")

# What unanswered calls may take of memory: gRPC keeps each one's request, and some kilobytes of its own.
MOST_UNANSWERED_BYTES = 1 << 30
CALL_BYTES = 16 << 10

_TICK_S = 0.5


@dataclass
class Session:
    """What a benchmark works with.

    Attributes:
        detector: Makes calls and streams.
        stop: Set by Ctrl-C.
        progress: The bar.
    """

    detector: BareDetector
    stop: asyncio.Event
    progress: Progress

    @property
    def most_unanswered(self) -> int:
        """Most calls under way that memory is spent on."""
        return MOST_UNANSWERED_BYTES // (self.detector.largest_request_bytes + CALL_BYTES)

    @asynccontextmanager
    async def shown(self, description: str, seconds: float) -> AsyncIterator[None]:
        """Shows a bar of so many seconds as long as the context lasts."""
        task = self.progress.add_task(description, total=math.ceil(seconds))

        async def tick() -> None:
            while True:
                await asyncio.sleep(_TICK_S)
                self.progress.advance(task, _TICK_S)

        ticking = asyncio.create_task(tick())
        try:
            yield
        finally:
            ticking.cancel()
            self.progress.remove_task(task)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self.progress.console.print(text, highlight=False, soft_wrap=True)


def run(setup: Setup, work: Callable[[Session], Awaitable[ReportT]]) -> tuple[DetectionResult, ReportT]:
    """Measures; returns the answer to the first call, and what came of the work.

    Raises:
        CallFailed: Nothing can be measured, as already the first call fails.
    """
    try:
        return uvloop.run(_run(setup, work))
    except asyncio.CancelledError:  # by the second Ctrl-C
        raise click.Abort from None


async def _run(setup: Setup, work: Callable[[Session], Awaitable[ReportT]]) -> tuple[DetectionResult, ReportT]:
    try:
        pictures = [path.read_bytes() for path in setup.pictures]
    except OSError as error:
        raise click.UsageError(f"cannot read {error.filename}: {error.strerror}") from error
    detector = BareDetector(
        setup.connection.address,
        setup.how.model,
        setup.how.version,
        token=setup.connection.token,
        tls=setup.connection.tls,
        connections=setup.connections,
    )
    loop, stop, whole = asyncio.get_running_loop(), asyncio.Event(), asyncio.current_task()

    def on_signal() -> None:
        """The first time in good order, the second time at once."""
        if stop.is_set() and whole is not None:
            whole.cancel()
        stop.set()

    async with detector:
        first = await detector.prepare(pictures, setup.how.options, downscale=setup.how.downscale)
        with progress_bar(refresh_per_s=1 / _TICK_S) as progress:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, on_signal)
            return first, await work(Session(detector, stop, progress))


def conclude(
    setup: Setup,
    first: DetectionResult,
    setting: dict[str, Any],
    report: Any,  # noqa: ANN401 - a dataclass, one for each command
    show: Callable[[Console], None],
    plot: Callable[[], Figure],
    *,
    nothing: str | None,
) -> None:
    """Prints and plots what was measured.

    Args:
        setup: What the benchmark was asked.
        first: The answer to the first call.
        setting: What it was asked beside that.
        report: What came of it.
        show: Prints that.
        plot: Draws it.
        nothing: That nothing was measured, in a sentence, if so; then there is nothing to plot, either.

    Raises:
        ClickException: Nothing was measured, or the plot cannot be written.
    """
    if setup.as_json:
        document = {"setting": {**_setting(setup, first), **setting}, "result": asdict(report)}
        click.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        out = Console()
        version = f"{first.model} {first.version} ({first.model_digest[:15]})"
        say(out, f"{escape(setup.connection.address)}: {escape(version)}")
        show(out)
    if nothing is not None:
        if setup.plot is not None:
            click.echo("Nothing is plotted", err=True)
        raise click.ClickException(nothing)
    if setup.plot is not None:
        name = click.format_filename(setup.plot)
        try:
            setup.plot.parent.mkdir(parents=True, exist_ok=True)
            plot().savefig(setup.plot)
        except OSError as error:
            raise click.ClickException(f"cannot write {name}: {error.strerror}") from error
        say(Console(stderr=setup.as_json), f"Plotted: {escape(name)}")


def _setting(setup: Setup, first: DetectionResult) -> dict[str, Any]:
    return {
        "detector_grpc_version": detector_grpc.__version__,
        "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "address": setup.connection.address,
        "model": first.model,
        "version": first.version,
        "model_digest": first.model_digest,
        "pictures": [click.format_filename(path) for path in setup.pictures],
        "options": {name: value for name, value in setup.how.options.items() if value},
        "downscale": setup.how.downscale,
        "connections": setup.connections,
        "seed": setup.seed,
        "warm_up_s": setup.warm_up_s,
    }
