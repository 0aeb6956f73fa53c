"""The command: what it is asked, and all from its sources to its summary."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape

from detector_grpc.cli.connection import Connection, connected, is_unreachable, json_option
from detector_grpc.cli.detect import free
from detector_grpc.cli.detecting import Detecting, detecting
from detector_grpc.cli.stream.annotated import SUFFIX, AnnotatedVideo
from detector_grpc.cli.stream.display import shown, table
from detector_grpc.cli.stream.follow import Job, JsonLines, follow
from detector_grpc.cli.stream.sources import SourceFailed, open_source
from detector_grpc.cli.stream.tally import Tally
from detector_grpc.client import CallFailed, Tracking

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from detector_grpc.cli.stream.sources import Source
    from detector_grpc.client import AsyncDetector, Mode


@click.command()
@connected
@click.argument("specs", nargs=-1, required=True, metavar="SOURCE...")
@detecting
@click.option(
    "--mode",
    type=click.Choice(["latest", "lossless"]),
    show_default="lossless for files and folders, latest for what is live",
    help="Drop frames that come too fast, or look at every one; with latest, files come as fast as they were taken.",
)
@click.option("--track", is_flag=True, help="Follow objects, also where they are out of sight for a second.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Take one frame out of so many.")
@click.option("--loop", is_flag=True, help="Begin files and folders again when they end, until Ctrl-C.")
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    help="MP4 file for the frames with boxes drawn; a folder for such files where there are several SOURCEs. A frame "
    "that was dropped has the boxes of the one before.",
)
@json_option
def stream(
    connection: Connection,
    *,
    specs: tuple[str, ...],
    how: Detecting,
    mode: Mode | None,
    track: bool,
    every: int,
    loop: bool,
    save: Path | None,
    as_json: bool,
) -> None:
    """Find objects in video.

    SOURCE is a video file, a folder of pictures, the number of a camera, or an address: rtsp://..., http://... Several
    are streamed at the same time.

    Shows how it goes, and at the end a summary; with --json prints one object a line for each frame. What is live is
    opened again when it breaks. Ctrl-C ends it in good order. The exit code is 1 if a frame or a source failed.
    """
    try:
        sources = [open_source(spec, every, loop=loop) for spec in specs]
    except SourceFailed as failure:
        raise click.ClickException(str(failure)) from failure
    jobs = [
        Job(
            source,
            mode or ("latest" if source.is_live else "lossless"),
            Tally(label, source.total),
            Tracking(max_lost_frames=max(round(source.fps), 1)) if track else None,
            AnnotatedVideo(path, source.fps) if path else None,
        )
        for source, label, path in zip(sources, _labels(sources), _videos(specs, sources, save), strict=True)
    ]
    asyncio.run(_run(connection, jobs, how, as_json=as_json))
    _conclude(jobs, Console(stderr=as_json))
    if any(job.tally.failed or job.tally.errors for job in jobs):
        raise click.exceptions.Exit(1)


def _labels(sources: Sequence[Source]) -> list[str]:
    """What sources are called in tables: files without their folders, unless that makes two alike."""
    names = [source.name for source in sources]
    short = [Path(name).name if Path(name).exists() else name for name in names]
    return short if len(set(short)) == len(short) else names


def _videos(specs: Sequence[str], sources: Sequence[Source], save: Path | None) -> list[Path | None]:
    """Where the video of each source goes: never where a source is."""
    if save is None:
        return [None] * len(specs)
    taken = {Path(spec).resolve() for spec in specs}
    if len(specs) > 1:
        if save.suffix.lower() == SUFFIX:
            raise click.UsageError("--save names a folder where there are several SOURCEs")
        stems = [re.sub(r"[^\w.]+", "-", Path(source.name).name) for source in sources]
        return [free(save / f"{stem.removesuffix(SUFFIX)}{SUFFIX}", taken) for stem in stems]
    if save.suffix.lower() != SUFFIX:
        raise click.UsageError(f"--save names a file that ends with {SUFFIX} where there is one SOURCE")
    if save.resolve() in taken:
        raise click.UsageError("--save would overwrite SOURCE")
    return [save]


async def _run(connection: Connection, jobs: Sequence[Job], how: Detecting, *, as_json: bool) -> None:
    console = Console(stderr=True)
    # Lines and a display that is drawn again and again do not go together on one terminal.
    is_shown = console.is_terminal and not (as_json and sys.stdout.isatty())

    def tell(job: Job, state: str) -> None:
        job.tally.state = state
        if state and not is_shown:
            console.print(f"{escape(job.tally.name)}: {state}", highlight=False, soft_wrap=True)

    async with how.detector(connection) as detector:
        await _reach(detector)
        lines = JsonLines() if as_json else None
        async with shown([job.tally for job in jobs], console) if is_shown else nullcontext():
            await _until_stopped([follow(detector, job, how, lines, tell) for job in jobs])


async def _reach(detector: AsyncDetector) -> None:
    """Finds out at once that there is no server; a stream would wait for one.

    Raises:
        CallFailed: There is none.
    """
    try:
        await detector.health()
    except CallFailed as failure:
        if is_unreachable(failure):
            raise


async def _until_stopped(work: Sequence[Coroutine[None, None, None]]) -> None:
    """Waits for all of it, or until Ctrl-C or SIGTERM; then all is ended in good order."""
    tasks = [asyncio.ensure_future(each) for each in work]
    loop, signals = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        for task in tasks:
            task.cancel()

    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        stop()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            task.result()


def _conclude(jobs: Sequence[Job], console: Console) -> None:
    console.print(table([job.tally for job in jobs]))
    for job in jobs:
        if job.tally.identities:
            objects = ", ".join(f"{count} {escape(name)}" for name, count in job.tally.identities.items())
            console.print(f"Followed: {escape(job.tally.name)}: {objects}", highlight=False, soft_wrap=True)
        if job.video is not None and job.video.frames:
            where = escape(click.format_filename(job.video.path))
            console.print(f"Saved: {where}, {job.video.frames} frames", highlight=False, soft_wrap=True)
        if job.tally.fault:
            what = "Failed" if job.tally.failed else "Last error"
            message = f"[red]{what}:[/] {escape(job.tally.name)}: {escape(job.tally.fault)}"
            Console(stderr=True).print(message, highlight=False, soft_wrap=True)
