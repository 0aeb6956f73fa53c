"""`detector-grpc detect`: finds objects in pictures."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import cv2
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from detector_grpc.cli.connection import Connection, connected, is_unreachable, json_option
from detector_grpc.cli.detecting import Detecting, detecting
from detector_grpc.cli.progress import progress_bar
from detector_grpc.client import CallFailed, draw
from detector_grpc.errors import ImageError
from detector_grpc.vision.decode import MAX_PIXELS, open_encoded
from detector_grpc.vision.header import FORMAT_NAMES, FORMATS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable

    from detector_grpc.client import AsyncDetector, DetectionResult, DetectOptions

# Enough to keep a server busy while pictures are read here and are under way; few enough for its queue.
PARALLEL = 8
SUFFIXES = frozenset(suffix for each in FORMATS for suffix in each.suffixes)
# What pictures with boxes are stored as; others become JPEG files, which every viewer shows.
DRAWN_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})


@dataclass(frozen=True)
class Job:
    """One picture to look at, and where it goes with its boxes drawn, if anywhere."""

    picture: Path
    annotated: Path | None


@dataclass(frozen=True)
class Outcome:
    """What became of one picture: a result and how long it took as seen from here, or else a fault in one sentence."""

    picture: Path
    result: DetectionResult | None = None
    total_ms: float = 0.0
    fault: str = ""


@click.command()
@connected
@click.argument("pictures", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@detecting
@click.option(
    "--save", type=click.Path(file_okay=False, path_type=Path), help="Folder for the pictures with boxes drawn."
)
@json_option
def detect(
    connection: Connection,
    *,
    pictures: tuple[Path, ...],
    how: Detecting,
    save: Path | None,
    as_json: bool,
) -> None:
    """Find objects in pictures.

    PICTURES are picture files, and folders of them.

    Prints a table of boxes for each picture, or with --json one object a line, in the order of PICTURES. A picture that
    fails does not stop the others, but makes the exit code 1.
    """
    jobs = _plan(pictures, save)

    async def run() -> int:
        async with how.detector(connection) as detector:
            return await _run(
                jobs,
                lambda job: look(detector, job, how.options, downscale=how.downscale),
                _show_json if as_json else show,
            )

    if failed := asyncio.run(run()):
        click.echo(f"{failed} of {len(jobs)} pictures failed", err=True)
        raise click.exceptions.Exit(1)


def _plan(paths: Iterable[Path], folder: Path | None) -> list[Job]:
    """Finds the pictures, and a name for each annotated one that no other of this run has."""
    jobs = []
    for path in paths:
        root = path if path.is_dir() else path.parent
        jobs += [Job(file, folder and folder / file.relative_to(root)) for file in pictures_at(path)]
    taken = {job.picture.resolve() for job in jobs}  # or --save could overwrite what it draws into
    return [Job(job.picture, job.annotated and free(_drawn(job.annotated), taken)) for job in jobs]


def pictures_at(path: Path) -> list[Path]:
    """The picture file itself, or the ones in a folder.

    Raises:
        UsageError: There are none in the folder.
    """
    if not path.is_dir():
        return [path]
    if not (found := pictures_in(path)):
        raise click.UsageError(f"no {FORMAT_NAMES} pictures in {click.format_filename(path)}")
    return found


def pictures_in(folder: Path) -> list[Path]:
    """The picture files in a folder and its subfolders, by name."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def _drawn(path: Path) -> Path:
    return path if path.suffix.lower() in DRAWN_SUFFIXES else path.with_suffix(".jpg")


def free(path: Path, taken: set[Path]) -> Path:
    """The path, or the first numbered one beside it, that is not taken; it is from now on."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    found = next(name for name in itertools.chain([path], numbered) if name.resolve() not in taken)
    taken.add(found.resolve())
    return found


async def look(detector: AsyncDetector, job: Job, options: DetectOptions, *, downscale: bool) -> Outcome:
    """Finds the objects in one picture.

    Raises:
        CallFailed: There is no server, so that the other pictures need not be tried.
    """
    start = time.perf_counter()
    try:
        data = await asyncio.to_thread(job.picture.read_bytes)
        result = await detector.detect(data, downscale=downscale, **options)
        total_ms = (time.perf_counter() - start) * 1e3
        if job.annotated:
            await asyncio.to_thread(_annotate, data, result, job.annotated)
    except CallFailed as failure:
        if is_unreachable(failure):
            raise
        return Outcome(job.picture, fault=str(failure))
    except OSError as error:
        return Outcome(job.picture, fault=str(error))
    return Outcome(job.picture, result, total_ms)


def _annotate(data: bytes, result: DetectionResult, path: Path) -> None:
    try:
        stored = open_encoded(data, MAX_PIXELS)
        image = stored.pixels(stored.image_wh)
    except ImageError as error:
        raise OSError(f"nothing can be drawn into it here: {error.message}") from error
    drawn = cv2.cvtColor(draw(image, result), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(path.suffix, drawn)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded.tobytes())


async def _run(
    jobs: list[Job], work: Callable[[Job], Coroutine[None, None, Outcome]], report: Callable[[Console, Outcome], None]
) -> int:
    """Looks at several pictures at once, reports the outcomes in order, and returns how many failed."""
    failed = 0
    with progress_bar(len(jobs)) as progress:
        # Where both are the terminal, all must pass through the bar's console, or the bar would be drawn over it.
        out = progress.console if sys.stdout.isatty() and not progress.disable else Console()
        bar = progress.add_task("pictures", total=len(jobs))
        async for outcome in _in_order(work, jobs):
            if outcome.fault:
                failed += 1
                progress.console.print(
                    f"[red]Failed:[/] {_name(outcome.picture)}: {escape(outcome.fault)}",
                    highlight=False,
                    soft_wrap=True,
                )
            report(out, outcome)
            progress.advance(bar)
    return failed


async def _in_order(work: Callable[[Job], Coroutine[None, None, Outcome]], jobs: list[Job]) -> AsyncIterator[Outcome]:
    running: deque[asyncio.Task[Outcome]] = deque()
    try:
        for job in jobs:
            if len(running) == PARALLEL:
                yield await running.popleft()
            running.append(asyncio.create_task(work(job)))
        while running:
            yield await running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _show_json(out: Console, outcome: Outcome) -> None:
    """Prints one object a line."""
    line: dict[str, object] = {"picture": click.format_filename(outcome.picture)}
    if outcome.result is not None:
        line |= {**outcome.result.to_dict(), "total_ms": round(outcome.total_ms, 3)}
    else:
        line["error"] = outcome.fault
    out.out(json.dumps(line), highlight=False)


def show(out: Console, outcome: Outcome) -> None:
    """Prints a heading and a table."""
    result = outcome.result
    if result is None:
        return
    out.print(
        f"[bold]{_name(outcome.picture)}[/]  {result.image_wh[0]} x {result.image_wh[1]} px, "
        f"{escape(result.model)} {escape(result.version)}: {len(result)} found "
        f"in {outcome.total_ms:.1f} ms (model {result.timing.inference_ms:.1f} ms){_doubt(result)}",
        highlight=False,
        soft_wrap=True,
    )
    if not len(result):
        return
    table = Table(
        "class", *(Column(name, justify="right") for name in ("confidence", "x_min", "y_min", "x_max", "y_max"))
    )
    for detection in result:
        table.add_row(
            escape(detection.class_name), f"{detection.confidence:.2f}", *(f"{edge:.1f}" for edge in detection.bbox)
        )
    out.print(table)


def _doubt(result: DetectionResult) -> str:
    if result.uncertainty is None:
        return ""
    driver = f" ({escape(result.uncertainty_driver)})" if result.uncertainty_driver else ""
    return f", uncertainty {result.uncertainty:.2f}{driver}"


def _name(path: Path) -> str:
    return escape(click.format_filename(path))
