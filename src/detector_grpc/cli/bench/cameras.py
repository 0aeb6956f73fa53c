"""`bench cameras`: live streams."""

from __future__ import annotations

from functools import partial

import click

from detector_grpc.bench.arrivals import phases
from detector_grpc.bench.camera_report import CameraReport, ages_s
from detector_grpc.bench.cameras import Filmed, film
from detector_grpc.bench.load import Window
from detector_grpc.bench.plots import plot_over_time
from detector_grpc.cli.bench.session import Session, conclude, run
from detector_grpc.cli.bench.setup import Setup, check_calls, generating, seconds_option
from detector_grpc.cli.bench.tables import show_cameras
from detector_grpc.cli.numbers import Finite

# A picture in a quarter of an hour.
MIN_FPS = 1e-3


@click.command()
@click.option("--cameras", "count", type=click.IntRange(1, 10_000), default=16, show_default=True, help="Streams.")
@click.option("--fps", type=Finite(min=MIN_FPS), default=10, show_default=True, help="Pictures per second and camera.")
@seconds_option(30)
@generating
def cameras(setup: Setup, *, count: int, fps: float, seconds: float) -> None:
    """Stream from many cameras at once, each with a phase of its own, in mode LATEST.

    Says how old pictures are when their answer comes, as the server counts it and as seen from here, where the age
    begins when the picture is due; which frames were dropped; and how evenly the cameras were treated.

    PICTURES are picture files, and folders of them, which are sent by turns; without any it is a bundled one.
    """
    window = Window(setup.warm_up_s, seconds)
    check_calls(count * fps, window.whole_s)
    phases_s = phases(count, fps, setup.seed).tolist()

    async def work(session: Session) -> Filmed:
        async with session.shown(f"{count} cameras", window.whole_s):
            return await film(session.detector.open_stream, phases_s, fps, window, session.stop)

    first, filmed = run(setup, work)
    report = CameraReport.of(filmed, fps)
    conclude(
        setup,
        first,
        {"command": "cameras", "cameras": count, "fps": fps, "seconds": seconds},
        report,
        lambda out: show_cameras(out, report),
        partial(
            plot_over_time,
            f"{count} cameras, {fps:g} pictures per second each",
            dict(zip(("age", "age at the server"), ages_s(filmed), strict=True)),
            report.timeline,
            "looked at",
        ),
        nothing=None if report.frames else "not a single frame was measured",
    )
