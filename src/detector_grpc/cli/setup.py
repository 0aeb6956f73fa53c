"""`detector-grpc models setup`: all that a newcomer needs to try the service with everyday things."""

from __future__ import annotations

import shlex
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from detector_grpc.cli.pulling import checked_name, pulling
from detector_grpc.cli.setup_reference import reference_of
from detector_grpc.configured import BUNDLED
from detector_grpc.drift import reference_file
from detector_grpc.drift.observation import Watched
from detector_grpc.errors import ModelInvalid
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage
from detector_grpc.serving.registry import read_version
from detector_grpc.serving.session import OnnxFile
from detector_grpc.vision.decode import MAX_PIXELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector_grpc.cli.pulling import Pulling
    from detector_grpc.serving.pipeline import Pipeline
    from detector_grpc.serving.repository import VersionSource

_EVERYDAY = BUNDLED / "everyday"


class _Ready(NamedTuple):
    """A version that can be tried.

    Attributes:
        source: Where it is.
        digest: Of its file, as servers tell it.
        pipeline: Runs it.
    """

    source: VersionSource
    digest: str
    pipeline: Pipeline


@click.command()
@pulling
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--model", default="coco", show_default=True, callback=checked_name, help="Name of the model.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder for the sample pictures and the reference.",
)
def setup(names: tuple[str, ...], *, how: Pulling, model: str, data: Path) -> None:
    """Set up a detector of everyday things in two versions, and try it.

    Brings models of the catalogue, yolox-nano and yolox-tiny if no NAME is given, as versions v1, v2, … of one model;
    puts sample pictures and a reference for drift beside them; and looks at the pictures with each version. Versions
    and references that are there already stay, so that the same command goes on where it ended. The exit code is 1 if
    something is not found that is in the pictures.
    """
    console = Console(highlight=False, soft_wrap=True)
    names = names or ("yolox-nano", "yolox-tiny")
    wanted = [how.of_catalogue(name, model, f"v{number}") for number, name in enumerate(names, 1)]
    sources = []
    for name, each in zip(names, wanted, strict=True):
        sources.append(how.bring(each).version)
        console.print(f"{model} {each.version}: {name}, in {sources[-1].path.parent}", markup=False)
    kept = data / "reference_features.json"
    try:
        pictures = _pictures(data / "pictures")
        console.print(f"sample pictures: in {data / 'pictures'}", markup=False)
        with ExitStack() as stack:
            ready = [_opened(source, stack) for source in sources]
            is_fine = _tried(console, pictures, ready)
            if not kept.exists():
                reference_file.write(kept, _references(pictures, ready))
    except OSError as error:
        raise click.ClickException(f"cannot write into {data}: {error.strerror}") from error
    except ModelInvalid as error:
        raise click.ClickException(error.message) from error
    console.print(f"reference for drift: {kept}", markup=False)
    _show_next_steps(console, how.repository, model, data)
    if not is_fine:
        raise click.ClickException("something was not found that is in the pictures")


def _pictures(folder: Path) -> list[Path]:
    """Copies of the bundled ones, which are called as what there is in them."""
    folder.mkdir(parents=True, exist_ok=True)
    copies = [shutil.copyfile(each, folder / each.name) for each in sorted(_EVERYDAY.iterdir())]
    return [each for each in copies if each.suffix == ".jpg"]


def _references(pictures: Sequence[Path], ready: Sequence[_Ready]) -> list[reference_file.Kept]:
    seen = [path.read_bytes() for path in pictures]
    return [
        reference_of(seen, Watched(each.source.model, each.source.version), each.digest, each.pipeline)
        for each in ready
    ]


def _opened(source: VersionSource, stack: ExitStack) -> _Ready:
    loaded = read_version(source, OnnxFile, MAX_PIXELS)
    stack.callback(loaded.pipeline.close)
    return _Ready(source, loaded.signature.digest, loaded.pipeline)


def _tried(console: Console, pictures: Sequence[Path], ready: Sequence[_Ready]) -> bool:
    """Shows what each version finds, and says whether that is what each picture is called."""
    table, is_fine = Table("picture", *(each.source.version for each in ready)), True
    for picture in pictures:
        row = []
        for each in ready:
            found = each.pipeline.detect(EncodedImage(picture.read_bytes()), RequestedOptions()).detections
            names = [each.pipeline.class_names[number] for number in found.class_id.tolist()]
            is_there = picture.stem in names
            is_fine &= is_there
            told = ", ".join(f"{name} {sure:.2f}" for name, sure in zip(names, found.confidence, strict=True))
            row.append(Text(told or "nothing", "green" if is_there else "red"))
        table.add_row(picture.name, *row)
    console.print(table)
    return is_fine


def _show_next_steps(console: Console, repository: Path, model: str, data: Path) -> None:
    folder, pictures = shlex.quote(str(repository)), shlex.quote(str(data / "pictures"))
    console.print(
        f"""Next:
  detector-grpc up --models-repository {folder} --models-default-model {model}
  detector-grpc detect --save annotated {pictures}
The reference tells of these pictures, so your own will be called DRIFTED by it: try it with
  REFERENCE_DATA_PATH={shlex.quote(str(data / "reference_features.json"))}
or leave that away, and one of your own world is learned.""",
        markup=False,
    )
