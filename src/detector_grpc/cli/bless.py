"""`detector-grpc models bless`: what a version finds now becomes what it must find to be served."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from detector_grpc.cli.version import MAX_PIXELS, with_version
from detector_grpc.errors import ImageError, listed
from detector_grpc.serving import golden
from detector_grpc.serving.golden import Golden, GoldenOptions
from detector_grpc.serving.pipeline import EncodedImage, Pipeline
from detector_grpc.serving.registry import read_version
from detector_grpc.vision.letterbox import Resize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from detector_grpc.serving.inputs import ImageInput
    from detector_grpc.serving.repository import VersionSource
    from detector_grpc.serving.session import ModelFile
    from detector_grpc.serving.spec import ModelSpec
    from detector_grpc.vision.tensor import ColorOrder

_OTHER_ORDER: dict[ColorOrder, ColorOrder] = {"RGB": "BGR", "BGR": "RGB"}


@click.command()
@with_version
@click.argument("pictures", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Replace the golden pictures that the version has.")
def bless(
    source: VersionSource, open_file: Callable[[Path], ModelFile], *, pictures: tuple[Path, ...], replace: bool
) -> None:
    """Make what a version finds now what it must always find.

    VERSION is a model file, or a folder with `model.onnx`. PICTURES are copied into its golden folder, with the boxes
    that are found in them; a server that finds other boxes refuses the version. So look at the boxes first. What these
    pictures would not notice is said.
    """
    loaded = read_version(source, open_file, MAX_PIXELS)
    doubled = sorted({picture.name for picture in pictures if [each.name for each in pictures].count(picture.name) > 1})
    if doubled:
        raise click.UsageError(f"pictures must have names of their own, more than one is called {', '.join(doubled)}")
    if source.golden_path.exists() and not replace:
        raise click.ClickException(f"{source.golden_path} exists: --replace replaces it")
    options = GoldenOptions.of(loaded.spec.options)
    expected = Golden(
        options=options, pictures={picture.name: _found(picture, loaded.pipeline, options) for picture in pictures}
    )
    if not any(expected.pictures.values()):
        raise click.ClickException("nothing is found in these pictures, which any broken model could do as well")
    _write(expected, pictures, source.golden_path)

    console = Console()
    console.print(_table(expected))
    console.print(f"{len(pictures)} pictures in {source.golden_path}", highlight=False, soft_wrap=True)
    with closing(open_file(source.path)) as file:
        for mistake in _unnoticed(expected, loaded.spec, file, source.golden_path):
            text = f"[yellow]Not noticed by these pictures:[/] {escape(mistake)}"
            console.print(text, highlight=False, soft_wrap=True)


def _found(picture: Path, pipeline: Pipeline, options: GoldenOptions) -> tuple[golden.ExpectedDetection, ...]:
    try:
        result = pipeline.detect(EncodedImage(picture.read_bytes()), options.requested())
    except (OSError, ImageError) as error:
        raise click.ClickException(f"{picture}: {error}") from error
    return golden.detections(result, pipeline.class_names)


def _write(expected: Golden, pictures: Sequence[Path], folder: Path) -> None:
    """Puts the folder in its place when it is complete."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".golden-") as temporary:
        complete = Path(temporary) / "new"
        complete.mkdir()
        for picture in pictures:
            shutil.copyfile(picture, complete / picture.name)
        (complete / golden.EXPECTED_FILE).write_text(expected.model_dump_json(indent=1) + "\n", encoding="utf-8")
        if folder.exists():
            folder.rename(Path(temporary) / "old")
        complete.rename(folder)


def _unnoticed(expected: Golden, spec: ModelSpec, file: ModelFile, folder: Path) -> Iterator[str]:
    """Ways to get the version wrong that the pictures would let pass."""
    shown = {detection.class_name for detections in expected.pictures.values() for detection in detections}
    if absent := [name for name in spec.class_names if name not in shown]:
        yield f"another name for {listed(absent)}"
    for mistake, image in _other_inputs(spec.input):
        otherwise = dataclasses.replace(spec, input=image)
        with closing(Pipeline(otherwise, file.taking(image), MAX_PIXELS)) as wrong:
            if not any(any(golden.picture_differences(expected, folder, name, wrong)) for name in expected.pictures):
                yield mistake


def _other_inputs(image: ImageInput) -> Iterator[tuple[str, ImageInput]]:
    """Ways to feed the model that leave it running."""
    order = _OTHER_ORDER[image.tensor_format.color_order]
    swapped = dataclasses.replace(image.tensor_format, color_order=order)
    yield f"input.color_order: {order}", dataclasses.replace(image, tensor_format=swapped)
    for resize in get_args(Resize):
        if resize != image.resize:
            yield f"input.resize: {resize}", dataclasses.replace(image, resize=resize)


def _table(expected: Golden) -> Table:
    table = Table("picture", "class", *(Column(name, justify="right") for name in ("confidence", "bbox")))
    for name, detections in expected.pictures.items():
        for detection in detections:
            edges = ", ".join(f"{edge:.1f}" for edge in detection.bbox)
            table.add_row(escape(name), escape(detection.class_name), f"{detection.confidence:.2f}", edges)
        if not detections:
            table.add_row(escape(name), "nothing")
    return table
