"""`bench rate` and `bench clients`: one load."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from detector_grpc.bench.arrivals import poisson
from detector_grpc.bench.load import Load, Measured, Window
from detector_grpc.bench.plots import plot_over_time
from detector_grpc.bench.report import LoadReport
from detector_grpc.cli.bench.session import Session, conclude, run
from detector_grpc.cli.bench.setup import POSITIVE, Setup, check_calls, deadline_option, generating, seconds_option
from detector_grpc.cli.bench.tables import show_load

if TYPE_CHECKING:
    from detector_grpc.client import DetectionResult


@click.command()
@click.option("--rate", "rate_per_s", type=POSITIVE, required=True, help="Calls per second.")
@seconds_option(30)
@deadline_option(10_000)
@generating
def rate(setup: Setup, *, rate_per_s: float, seconds: float, deadline_ms: float) -> None:
    """Send calls at a rate, whatever the server does.

    Calls come as from callers who do not know of each other (a Poisson process), and none waits for the answer to
    another.

    PICTURES are picture files, and folders of them, which are sent by turns; without any it is a bundled one.
    """
    window = Window(setup.warm_up_s, seconds)
    check_calls(rate_per_s, window.whole_s)
    arrivals_s = poisson(rate_per_s, window.whole_s, setup.seed)

    async def work(session: Session) -> Measured:
        load = Load(session.detector.detect, window, deadline_ms / 1e3, session.stop)
        async with session.shown(f"{rate_per_s:g} per second", window.whole_s):
            return await load.open_loop(arrivals_s, session.most_unanswered)

    first, measured = run(setup, work)
    _conclude(setup, first, measured, f"{rate_per_s:g} calls per second", "rate", seconds, deadline_ms, rate_per_s)


@click.command()
@click.option(
    "--clients", "count", type=click.IntRange(1, 10_000), default=8, show_default=True, help="Calls under way at once."
)
@seconds_option(30)
@deadline_option(10_000)
@generating
def clients(setup: Setup, *, count: int, seconds: float, deadline_ms: float) -> None:
    """Keep a number of calls under way: each client sends its next call when the last one has ended.

    Says what the server can do. Its latency is what so many clients make it, and not what callers would see who do not
    wait for each other.

    PICTURES are picture files, and folders of them, which are sent by turns; without any it is a bundled one.
    """
    window = Window(setup.warm_up_s, seconds)

    async def work(session: Session) -> Measured:
        load = Load(session.detector.detect, window, deadline_ms / 1e3, session.stop)
        async with session.shown(f"{count} clients", window.whole_s):
            return await load.closed_loop(count)

    first, measured = run(setup, work)
    _conclude(setup, first, measured, f"{count} clients", "clients", seconds, deadline_ms, count)


def _conclude(
    setup: Setup,
    first: DetectionResult,
    measured: Measured,
    title: str,
    command: str,
    seconds: float,
    deadline_ms: float,
    load: float,
) -> None:
    name = {"rate": "rate_per_s", "clients": "clients"}[command]
    report = LoadReport.of(measured, deadline_ms / 1e3)
    answered_s = [call.latency_s for call in measured.calls if call.failure is None]
    conclude(
        setup,
        first,
        {"command": command, name: load, "seconds": seconds, "deadline_ms": deadline_ms},
        report,
        lambda out: show_load(out, report),
        partial(plot_over_time, title, {"latency": answered_s}, report.timeline, "answered"),
        nothing=None if report.calls else "not a single call was measured",
    )
