"""`bench overload`: multiples of what the server can do."""

from __future__ import annotations

from functools import partial

import click

from detector_grpc.bench.arrivals import poisson
from detector_grpc.bench.load import Load, Window
from detector_grpc.bench.overload import Multiple, OverloadReport
from detector_grpc.bench.plots import plot_overload
from detector_grpc.bench.report import LoadReport
from detector_grpc.cli.bench.session import Session, conclude, run
from detector_grpc.cli.bench.setup import POSITIVE, Setup, check_calls, deadline_option, generating, seconds_option
from detector_grpc.cli.bench.tables import show_overload
from detector_grpc.serving.cpu import cpu_limit


@click.command()
@click.option("--clients", type=click.IntRange(1, 10_000), default=8, show_default=True, help="Of the closed loop.")
@click.option(
    "--times",
    type=POSITIVE,
    multiple=True,
    default=(3.0, 10.0),
    show_default=True,
    help="Multiple of the capacity; may be repeated.",
)
@seconds_option(60, "How long to measure each load.")
@deadline_option(1000)
@generating
def overload(setup: Setup, *, clients: int, times: tuple[float, ...], seconds: float, deadline_ms: float) -> None:
    """Ask for more than the server can do.

    A closed loop says how many calls per second the server can answer; then calls come at multiples of that, as from
    callers who do not know of each other. Goodput is what is answered within the deadline, counted from when a call was
    due. Where generator and server share processors, the capacity is lower under the open loops by what the generator
    takes; goodput is compared with that, too.

    PICTURES are picture files, and folders of them, which are sent by turns; without any it is a bundled one.
    """
    window, deadline_s, processors = Window(setup.warm_up_s, seconds), deadline_ms / 1e3, cpu_limit()

    async def work(session: Session) -> OverloadReport:
        def load() -> Load:
            return Load(session.detector.detect, window, deadline_s, session.stop)

        async with session.shown(f"{clients} clients", window.whole_s):
            capacity = LoadReport.of(await load().closed_loop(clients), deadline_s)
        if not capacity.answered:
            raise click.ClickException(_unanswered(capacity))
        multiples: list[Multiple] = []
        for each in times:
            if session.stop.is_set():
                break
            rate_per_s = each * capacity.answered_per_s
            check_calls(rate_per_s, window.whole_s)
            arrivals_s = poisson(rate_per_s, window.whole_s, setup.seed)
            async with session.shown(f"{each:g} times as much", window.whole_s):
                measured = await load().open_loop(arrivals_s, session.most_unanswered)
            if measured.cut_short and not measured.calls:  # of which there is nothing to tell
                break
            multiples.append(Multiple.of(each, capacity, LoadReport.of(measured, deadline_s), processors))
        return OverloadReport(
            clients, capacity.answered_per_s, capacity, processors, tuple(multiples), session.stop.is_set()
        )

    first, report = run(setup, work)
    conclude(
        setup,
        first,
        {"command": "overload", "clients": clients, "times": times, "seconds": seconds, "deadline_ms": deadline_ms},
        report,
        lambda out: show_overload(out, report),
        partial(plot_overload, f"More than {report.capacity_per_s:.1f} calls per second", report),
        nothing=None,
    )


def _unanswered(capacity: LoadReport) -> str:
    if not capacity.calls:
        return "not a single call was measured"
    counts = ", ".join(f"{name} {count}" for name, count in capacity.failed.items())
    return f"not a single call was answered; {capacity.calls} failed: {counts}"
