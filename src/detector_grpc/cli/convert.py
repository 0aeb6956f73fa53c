"""`detector-grpc models convert`: a checkpoint of PyTorch made into a version, ready to be served."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import yaml

from detector_grpc.cli.connection import connected_to_processes, json_option
from detector_grpc.cli.converting import converting
from detector_grpc.cli.pull import bring_and_load
from detector_grpc.cli.pulling import checked_name, pulling
from detector_grpc.conversion.convert import DEFAULT_OPSET, Asked
from detector_grpc.errors import ModelInvalid, SetupInvalid
from detector_grpc.hub.shelf import digest
from detector_grpc.optimisation.slim import slim
from detector_grpc.optimisation.tools import import_onnx
from detector_grpc.serving.manifest import Manifest, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector_grpc.cli.connection import Connection
    from detector_grpc.cli.pulling import Pulling

# Heads look at grids whose cells are so large, px.
_STRIDE = 32
_MOST_SIDE = 8192


class _InputSize(click.ParamType[tuple[int, int]]):
    """A side, or height and width, px."""

    name = "SIDE|HEIGHTxWIDTH"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Reads it."""
        found = re.fullmatch(r"(\d+)(?:[x,](\d+))?", str(value))
        sides = [int(side) for side in found.groups() if side] if found else [0]
        if not all(_STRIDE <= side <= _MOST_SIDE and side % _STRIDE == 0 for side in sides):
            self.fail(f"sides are multiples of {_STRIDE}, from {_STRIDE} to {_MOST_SIDE}; got {value}", param, ctx)
        return sides[0], sides[-1]


@click.command()
@pulling
@connected_to_processes
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default="", callback=checked_name, help="Name of the model; as the file if not given.")
@click.option("--model-version", default="", callback=checked_name, help="Name of the version; the next if not given.")
@click.option("--imgsz", "input_hw", type=_InputSize(), help="Size of its input; the model's own if not given.")
@click.option(
    "--opset", type=click.IntRange(13), default=DEFAULT_OPSET, show_default=True, help="Operator set of ONNX."
)
@click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the class names, a line each; those of the checkpoint if not given.",
)
@click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the checkpoint does not say of itself (docs/models.md).",
)
@click.option("--optimize", is_flag=True, help="Slim the graph, too (docs/optimize.md).")
@json_option
@click.pass_context
def convert(
    context: click.Context,
    connections: list[Connection],
    *,
    how: Pulling,
    checkpoint: Path,
    model: str,
    model_version: str,
    input_hw: tuple[int, int] | None,
    opset: int,
    labels: Path | None,
    manifest: Path | None,
    optimize: bool,
    as_json: bool,
) -> None:
    """Make a version of a checkpoint of PyTorch, in a model repository; in the folder `models` if none is set.

    CHECKPOINT is a file of weights (.pt, .pth, .safetensors) of a family that is known, a TorchScript program,
    or an exported program (.pt2). It is converted to ONNX in an environment of its own, with PyTorch, which is made
    when it is first needed. It becomes a version if it can be served, and a server that runs loads it. What would run
    code when it is read is refused.
    """
    make = converting(how.conversion, checkpoint.name, Asked(input_hw, opset))
    if optimize:
        import_onnx()
        make = _slimmed(make)
    said = _manifest(checkpoint, manifest, labels)
    if not checkpoint.is_file():
        raise click.ClickException(f"{checkpoint}: is no file, but a pipe or a device")
    try:
        digests = frozenset({digest(checkpoint)})
    except OSError as error:
        raise click.ClickException(f"{checkpoint}: cannot be read: {error.strerror}") from error
    wanted = how.at(checkpoint.absolute().as_uri(), said, digests, model, model_version)
    bring_and_load(context, connections, how, replace(wanted, make=make), as_json=as_json)


def _manifest(checkpoint: Path, given: Path | None, labels: Path | None) -> str:
    """The text of the manifest of what is made."""
    try:
        manifest = read_manifest(given) if given else Manifest()
    except ModelInvalid as error:
        raise SetupInvalid([error.message]) from error
    said = manifest.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    if labels:
        said["class_names"] = _names(labels)
    return yaml.safe_dump(
        {"description": f"converted from {checkpoint.name}", **said}, sort_keys=False, allow_unicode=True
    )


def _names(labels: Path) -> list[str]:
    try:
        names = [line.strip() for line in labels.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise SetupInvalid([f"{labels}: cannot be read: {error}"]) from error
    if not names:
        raise SetupInvalid([f"{labels} has no class names: they stand there a line each"])
    return names


def _slimmed(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def make_slim(checkpoint: Path) -> Path:
        made = make(checkpoint)
        made.write_bytes(slim(import_onnx().load(made)).SerializeToString())
        return made

    return make_slim
