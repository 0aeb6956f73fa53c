"""`detector-grpc models optimize`: a version made smaller or faster, if it stays accurate."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import cv2
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from detector_grpc.cli.detect import pictures_in
from detector_grpc.cli.marked import absent_pictures, without_pictures, without_unknown
from detector_grpc.cli.new_version import check_new, staging
from detector_grpc.cli.numbers import Finite
from detector_grpc.cli.progress import progress_bar
from detector_grpc.coco import read_annotations
from detector_grpc.errors import ModelInvalid, SetupInvalid
from detector_grpc.evaluation.reference import import_pycocotools
from detector_grpc.evaluation.target import look_at_all
from detector_grpc.optimisation.forms import FORMS
from detector_grpc.optimisation.measure import compare, cpu_ms
from detector_grpc.optimisation.tools import import_onnx
from detector_grpc.optimisation.trial import open_original, place, try_form
from detector_grpc.serving.cpu import cpu_limit
from detector_grpc.serving.openvino import has_bf16
from detector_grpc.serving.repository import at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from detector_grpc.coco import Annotations
    from detector_grpc.optimisation.forms import Form, FormName
    from detector_grpc.optimisation.measure import Accuracy
    from detector_grpc.optimisation.trial import Candidate, Original

_POINTS = 100


@dataclass(frozen=True)
class Row:
    """What is said of a form.

    Attributes:
        form: Its name; "original" for what it was made of.
        size_bytes: Of the model file.
        cpu_ms: That a picture takes.
        accuracy: What it finds.
        is_accepted: Whether it is accurate enough.
    """

    form: str
    size_bytes: int
    cpu_ms: float
    accuracy: Accuracy
    is_accepted: bool


@click.command()
@click.argument("version", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--form",
    "forms",
    multiple=True,
    type=click.Choice([*FORMS]),
    show_default="all that can be made here",
    help="What to make of it; may be repeated.",
)
@click.option("--nms", is_flag=True, help="Have the graph suppress, too.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the new version; takes one --form.")
@click.option("--annotations", "file", required=True, type=click.Path(path_type=Path), help="COCO annotations, JSON.")
@click.option(
    "--images", type=click.Path(path_type=Path), show_default="images beside them", help="Folder of their pictures."
)
@click.option("--skip-missing", is_flag=True, help="Leave out pictures that are missing or cannot be used.")
@click.option("--skip-unknown", is_flag=True, help="Leave out categories that the model does not know.")
@click.option(
    "--calibration", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of pictures, for int8."
)
@click.option(
    "--max-drop", type=Finite(0, _POINTS), default=0.5, show_default=True, help="Most points of mAP50-95 to lose."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def optimize(
    *,
    version: Path,
    forms: tuple[FormName, ...],
    nms: bool,
    output: Path | None,
    file: Path,
    images: Path | None,
    skip_missing: bool,
    skip_unknown: bool,
    calibration: Path | None,
    max_drop: float,
    as_json: bool,
) -> None:
    """Make a version smaller or faster, and say what that costs.

    VERSION is the folder of a version or a model file. Every form is made, looks at the marked pictures just as a
    server would, and is measured beside VERSION. One that loses more than --max-drop is refused; --output writes one
    that is not, with a manifest that says what was measured.
    """
    console = Console(stderr=True)
    calibrating = _check(forms, output, calibration)
    chosen = [*dict.fromkeys(forms)] or [*_possible(calibrating, console)]
    cv2.setNumThreads(1)  # as in a server
    with staging(output) as folder:
        try:
            original = open_original(at(version))
            marked = _marked(original, file, images, skip_missing=skip_missing, skip_unknown=skip_unknown)
            candidates = []
            for form in chosen:
                with console.status(f"making {form}"):
                    candidates.append(try_form(form, original, calibrating, folder / form, nms=nms))
            rows = _measured(original, candidates, *marked, max_drop)
        except ModelInvalid as error:
            raise click.ClickException(error.message) from error
        if as_json:
            click.echo(json.dumps([asdict(row) for row in rows], indent=2))
        else:
            Console().print(_table(rows))
        if output is not None:
            annotations, _ = marked
            _write(output, candidates[0], original, rows[1], len(annotations.pictures), max_drop)
            console.print(f"written: {escape(str(output))}", highlight=False, soft_wrap=True)
            if original.source.golden_path.exists():
                bless = f"it has no golden pictures yet: detector-grpc models bless {output} PICTURES"
                console.print(escape(bless), highlight=False, soft_wrap=True)


def _check(forms: Sequence[FormName], output: Path | None, calibration: Path | None) -> list[Path]:
    """Refuses, before anything is computed, what could not be done; returns the pictures to calibrate with."""
    import_onnx()
    import_pycocotools()
    if output is not None:
        if len(forms) != 1:
            raise click.UsageError("--output takes one --form")
        check_new(output)
    if "bf16" in forms and not has_bf16():
        raise SetupInvalid(["this processor does not compute in bfloat16: what that costs cannot be measured here"])
    if calibration is None:
        if "int8" in forms:
            raise click.UsageError("int8 takes --calibration: a folder of pictures as the model will see them")
        return []
    pictures = pictures_in(calibration)
    if not pictures:
        raise SetupInvalid([f"there are no pictures in {calibration} to calibrate with"])
    return pictures


def _possible(calibrating: Sequence[Path], console: Console) -> Iterator[FormName]:
    """The forms that can be made here; why others cannot is said."""
    for form, how in FORMS.items():
        lack = _lack(how, calibrating)
        if lack:
            console.print(f"[yellow]Left out[/] {form}: {escape(lack)}", highlight=False, soft_wrap=True)
        else:
            yield form


def _lack(form: Form, calibrating: Sequence[Path]) -> str:
    if form.is_calibrated and not calibrating:
        return "--calibration is not given"
    if form.runs_on == "OpenVINO":
        try:
            return "" if has_bf16() else "this processor does not compute in bfloat16"
        except SetupInvalid as error:
            return error.message
    return ""


def _marked(
    original: Original, file: Path, images: Path | None, *, skip_missing: bool, skip_unknown: bool
) -> tuple[Annotations, dict[int, Path]]:
    """What is to be found, and the files of the pictures by id."""
    marked = read_annotations(file)
    folder = images or file.parent / "images"
    there = without_pictures(marked, absent_pictures(marked, folder), folder, skip=skip_missing)
    known = without_unknown(there, [original.target], skip=skip_unknown)
    return known, {key: folder / name for key, name in known.pictures.items()}


def _measured(
    original: Original,
    candidates: Sequence[Candidate],
    annotations: Annotations,
    pictures: Mapping[int, Path],
    max_drop: float,
) -> list[Row]:
    """The original's row, and one for each candidate."""
    targets = [original.target, *(each.target for each in candidates)]
    runs = []
    with progress_bar() as progress:
        for target in targets:
            bar = progress.add_task(target.name, total=len(pictures))
            run = look_at_all(target, pictures, cpu_limit(), partial(progress.advance, bar))
            if run.refused:
                raise SetupInvalid([f"{pictures[key]} cannot be used: {why}" for key, why in run.refused.items()])
            runs.append(run)
    costs = cpu_ms(targets, [*pictures.values()])
    sizes = [original.source.path.stat().st_size, *(each.size_bytes for each in candidates)]
    rows = []
    for run, size_bytes, cost in zip(runs, sizes, costs, strict=True):
        accuracy = compare(annotations, runs[0], run)
        rows.append(Row(run.target.name, size_bytes, cost, accuracy, -accuracy.difference.value * _POINTS <= max_drop))
    return rows


def _write(output: Path, candidate: Candidate, original: Original, row: Row, pictures: int, max_drop: float) -> None:
    """Puts a candidate in its place, complete and in one step, unless it is refused."""
    if not row.is_accepted:
        drop = -row.accuracy.difference.value * _POINTS
        raise click.ClickException(
            f"{row.form} loses {drop:.2f} points of mAP50-95, --max-drop allows {max_drop:g}: nothing is written"
        )
    place(candidate, original, row.accuracy, pictures, max_drop)
    candidate.folder.rename(output)


def _table(rows: Sequence[Row]) -> Table:
    names = ("MB", "CPU-ms", "mAP50-95", "mAP50", "change", "95 % interval")
    table = Table("", *(Column(name, justify="right") for name in names), "", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        accuracy, interval = row.accuracy, row.accuracy.difference.interval
        is_original = row is rows[0]
        table.add_row(
            row.form,
            f"{row.size_bytes / 1e6:.2f}",
            f"{row.cpu_ms:.1f}",
            f"{accuracy.map50_95:.3f}",
            f"{accuracy.map50:.3f}",
            "" if is_original else f"{accuracy.difference.value * _POINTS:+.2f}",
            "" if is_original else f"{interval.low * _POINTS:+.2f} to {interval.high * _POINTS:+.2f}",
            "" if row.is_accepted else "[red]refused[/]",
        )
    return table
