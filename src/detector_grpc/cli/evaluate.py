"""`detector-grpc models evaluate`: how well versions find what people have marked in pictures."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import cv2
from rich.console import Console

from detector_grpc.cli.connection import Connection, perhaps_connected
from detector_grpc.cli.detect import PARALLEL
from detector_grpc.cli.marked import absent_pictures, without_pictures, without_unknown
from detector_grpc.cli.numbers import Finite
from detector_grpc.cli.progress import progress_bar
from detector_grpc.cli.scores import show
from detector_grpc.cli.served import ServedTarget
from detector_grpc.cli.version import MAX_PIXELS
from detector_grpc.client import Detector
from detector_grpc.coco import read_annotations
from detector_grpc.errors import InferenceFailed, ModelInvalid, SetupInvalid
from detector_grpc.evaluation.judge import judge
from detector_grpc.evaluation.plots import EXTRA, save_plots
from detector_grpc.evaluation.reference import import_pycocotools
from detector_grpc.evaluation.report import LOWEST_CONFIDENCE, MOST_BOXES, Setting, Skipped
from detector_grpc.evaluation.target import OfflineTarget, look_at_all
from detector_grpc.figures import import_figure
from detector_grpc.serving import repository
from detector_grpc.serving.cpu import cpu_limit
from detector_grpc.serving.options import MAX_DETECTIONS, RequestedOptions
from detector_grpc.serving.providers import opening
from detector_grpc.serving.session import CPU_PROVIDER, OnnxFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detector_grpc.evaluation.report import Report
    from detector_grpc.evaluation.target import Run, Target

MOST_TARGETS = 2
STDOUT = Path("-")


@click.command()
@perhaps_connected
@click.argument("names", nargs=-1, required=True, metavar="TARGET [TARGET]")
@click.option("--annotations", "file", required=True, type=click.Path(path_type=Path), help="COCO annotations, JSON.")
@click.option(
    "--images", type=click.Path(path_type=Path), show_default="images beside them", help="Folder of their pictures."
)
@click.option(
    "--confidence", type=Finite(0, 1), default=LOWEST_CONFIDENCE, show_default=True, help="Lowest confidence."
)
@click.option("--iou", type=Finite(0, 1), show_default="the version's", help="Highest overlap of two boxes.")
@click.option("--multi-label/--single-label", default=True, show_default=True, help="Classes that one box may have.")
@click.option(
    "--max-detections",
    type=click.IntRange(1, MAX_DETECTIONS),
    default=MOST_BOXES,
    show_default=True,
    help="Most boxes.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    show_default=f"one per processor; {PARALLEL} with --address",
    help="Pictures to look at at once.",
)
@click.option(
    "--provider", default=CPU_PROVIDER, show_default=True, help="ONNX Runtime execution provider, without --address."
)
@click.option("--resamples", type=click.IntRange(100), default=1000, show_default=True, help="Drawings for intervals.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the drawings.")
@click.option("--skip-missing", is_flag=True, help="Leave out pictures that are missing or cannot be used.")
@click.option("--skip-unknown", is_flag=True, help="Leave out categories that a model does not know.")
@click.option("--plots", type=click.Path(file_okay=False, path_type=Path), help="Folder for plots, PNG.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, writable=True, allow_dash=True, path_type=Path),
    help="File for all of it as JSON; - prints it.",
)
def evaluate(
    connection: Connection | None,
    *,
    names: tuple[str, ...],
    file: Path,
    images: Path | None,
    confidence: float,
    iou: float | None,
    multi_label: bool,
    max_detections: int,
    workers: int | None,
    provider: str,
    resamples: int,
    seed: int,
    skip_missing: bool,
    skip_unknown: bool,
    plots: Path | None,
    json_file: Path | None,
) -> None:
    """Compare what models find with what people have marked.

    TARGET is the folder of a version or a model file, which is opened here, just as a server would; with --address it
    is MODEL/VERSION as that server holds it. Two are evaluated on the same pictures and compared.
    """
    if len(names) > MOST_TARGETS or len(set(names)) < len(names):
        raise click.UsageError("give one TARGET, or two different ones to compare")
    import_pycocotools()
    if plots is not None:
        import_figure(EXTRA)
    workers = workers or (PARALLEL if connection else cpu_limit())
    setting = Setting(confidence, iou, multi_label, max_detections, workers, resamples, seed)
    options = RequestedOptions(
        confidence_threshold=confidence, iou_threshold=iou, multi_label=multi_label, max_detections=max_detections
    )
    marked = read_annotations(file)
    folder = images or file.parent / "images"
    missing = absent_pictures(marked, folder)
    there = without_pictures(marked, missing, folder, skip=skip_missing)
    with ExitStack() as stack:
        if connection is None:
            targets = _open_here(names, provider, options)
        else:
            targets = _open_there(names, connection, options, stack)
        known = without_unknown(there, targets, skip=skip_unknown)
        pictures = {key: folder / name for key, name in known.pictures.items()}
        runs = [_look(target, pictures, workers) for target in targets]
    refused = {key: reason for run in runs for key, reason in run.refused.items()}
    judged = without_pictures(known, refused, folder, skip=skip_missing)
    skipped = Skipped(
        {marked.pictures[key]: reason for key, reason in {**missing, **refused}.items()},
        {name: marked.counts()[name] for name in marked.categories if name not in judged.categories},
    )
    with Console(stderr=True).status("evaluating"):
        report = judge(judged, runs, setting, skipped)
        plotted = [] if plots is None else save_plots(report, plots)
    _tell(report, json_file, plotted)


def _open_here(names: Sequence[str], provider: str, options: RequestedOptions) -> list[Target]:
    """Opens versions in this process."""
    cv2.setNumThreads(1)  # as in a server: pictures run beside each other, each on one thread
    if absent := [name for name in names if not Path(name).exists()]:
        raise SetupInvalid([f"there is no {name}; a version of a running server needs --address" for name in absent])
    sources = [repository.at(Path(name)) for name in names]
    short = ["/".join(filter(None, (source.model, source.version))) for source in sources]
    titles = short if len(set(short)) == len(short) else names
    open_file = partial(OnnxFile, open_session=opening(provider))
    try:
        return [
            OfflineTarget(title, source, open_file, MAX_PIXELS, options)
            for title, source in zip(titles, sources, strict=True)
        ]
    except ModelInvalid as error:
        raise click.ClickException(error.message) from error


def _open_there(
    names: Sequence[str], connection: Connection, options: RequestedOptions, stack: ExitStack
) -> list[Target]:
    """Opens versions of a server; the stack closes the connections."""
    if faulty := [name for name in names if name.count("/") != 1]:
        raise SetupInvalid([f'"{name}" is not MODEL/VERSION, which --address takes' for name in faulty])
    targets: list[Target] = []
    for name in names:
        model, version = name.split("/")
        detector = Detector(connection.address, model, version, token=connection.token, tls=connection.tls)
        targets.append(ServedTarget(stack.enter_context(detector), model, version, options))
    return targets


def _look(target: Target, pictures: Mapping[int, Path], workers: int) -> Run:
    with progress_bar(len(pictures)) as progress:
        bar = progress.add_task(target.name, total=len(pictures))
        try:
            return look_at_all(target, pictures, workers, lambda: progress.advance(bar))
        except InferenceFailed as error:
            raise click.ClickException(f"{target.name}: {error.message}: {error.__cause__}") from error


def _tell(report: Report, json_file: Path | None, plotted: Sequence[Path]) -> None:
    text = json.dumps(report.to_dict(), indent=2)
    if json_file == STDOUT:
        click.echo(text)
        return
    written = [*plotted]
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(text, encoding="utf-8")
        written.append(json_file)
    show(Console(), report, written)
