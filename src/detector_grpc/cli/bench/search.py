"""`bench search`: the highest rate within a bound."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from detector_grpc.bench.load import Window
from detector_grpc.bench.plots import plot_search
from detector_grpc.bench.search import SearchReport, Step, measure, trials
from detector_grpc.cli.bench.session import Session, conclude, run
from detector_grpc.cli.bench.setup import POSITIVE, Setup, check_calls, deadline_option, generating, seconds_option
from detector_grpc.cli.bench.tables import show_search, step_line
from detector_grpc.cli.connection import is_unreachable, sentence
from detector_grpc.cli.numbers import Finite

if TYPE_CHECKING:
    from detector_grpc.client import CallFailed


@click.command()
@click.option("--p99-ms", type=POSITIVE, required=True, help="Bound of the 99th percentile of the latency.")
@click.option("--from-rate", "start_per_s", type=POSITIVE, default=5, show_default=True, help="Lowest rate.")
@click.option(
    "--resolution", type=Finite(0.1), default=5, show_default=True, help="How exact the rate is to be, in percent."
)
@seconds_option(20, "How long to measure at each rate.")
@deadline_option(10_000)
@generating
def search(
    setup: Setup, *, p99_ms: float, start_per_s: float, resolution: float, seconds: float, deadline_ms: float
) -> None:
    """Find the highest rate whose p99 is within a bound.

    The rate is doubled until it is too high, and then halved into, down to the resolution; the one that is found is
    measured once more with other arrivals, and lowered until that confirms it. Of 100 calls that come as from callers
    who do not know of each other, one may take longer than the bound, or fail; a rate is given up once more have. Of
    fewer than 100 calls none may: a low rate takes its time.

    PICTURES are picture files, and folders of them, which are sent by turns; without any it is a bundled one.
    """
    if deadline_ms < p99_ms:
        raise click.UsageError(
            f"--deadline-ms {deadline_ms:g} is below --p99-ms {p99_ms:g}: nothing could miss the bound"
        )
    window = Window(setup.warm_up_s, seconds)
    check_calls(start_per_s, window.whole_s)

    async def work(session: Session) -> tuple[SearchReport, CallFailed | None]:
        steps: list[Step] = []
        plan = trials(start_per_s, resolution / 100)
        trial, lost = next(plan), None
        while not session.stop.is_set():
            async with session.shown(f"{trial.rate_per_s:.1f} per second", window.whole_s):
                step = await measure(
                    session.detector.detect,
                    trial,
                    p99_ms / 1e3,
                    window,
                    setup.seed + len(steps),
                    session.stop,
                    deadline_ms / 1e3,
                    session.most_unanswered,
                )
            if session.stop.is_set():
                break
            if not step.within:  # by the server, or as there is none any more?
                failure = await session.detector.detect(0, deadline_ms / 1e3)
                if failure is not None and is_unreachable(failure):
                    lost = failure
                    break
            steps.append(step)
            session.say(step_line(step, p99_ms))
            try:
                trial = plan.send(step.within)
            except StopIteration:
                break
        cut_short = session.stop.is_set() or lost is not None
        return SearchReport.of(steps, p99_ms / 1e3, resolution / 100, cut_short=cut_short), lost

    first, (report, lost) = run(setup, work)
    gone = None if lost is None else sentence(lost, setup.connection.address)
    conclude(
        setup,
        first,
        {
            "command": "search",
            "p99_bound_ms": p99_ms,
            "from_rate_per_s": start_per_s,
            "resolution_percent": resolution,
            "seconds": seconds,
            "deadline_ms": deadline_ms,
        },
        report,
        lambda out: show_search(out, report),
        partial(plot_search, f"p99 of at most {p99_ms:g} ms", report),
        nothing=None if report.steps else gone or "not a single rate was measured",
    )
    if gone is not None:
        raise click.ClickException(gone)
