"""`detector-grpc models inspect`: what was concluded of a model file, and from what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from detector_grpc.cli.connection import json_option
from detector_grpc.cli.version import MAX_PIXELS, with_version
from detector_grpc.serving import golden
from detector_grpc.serving.manifest import read_manifest
from detector_grpc.serving.pipeline import Pipeline
from detector_grpc.serving.spec import ModelSpec, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from detector_grpc.serving.repository import VersionSource
    from detector_grpc.serving.session import ModelFile, Signature

_LONGEST_VALUE = 60


@click.command()
@with_version
@json_option
@click.option("--manifest", "as_manifest", is_flag=True, help="Print a manifest.yaml that says all of it.")
def inspect(source: VersionSource, open_file: Callable[[Path], ModelFile], *, as_json: bool, as_manifest: bool) -> None:
    """Say how a model file would be served, and why.

    VERSION is a model file, or a folder with `model.onnx` and perhaps `manifest.yaml`. The exit code is 1 if it cannot
    be served, or does not reproduce its golden pictures; what the file says of itself is shown all the same.
    """
    file = open_file(source.path)
    if not as_json and not as_manifest:
        Console().print(_file(source, file.signature))
    spec = resolve(read_manifest(source.manifest_path), file)
    pipeline = Pipeline(spec, file.taking(spec.input, bf16=spec.bf16), MAX_PIXELS)
    golden.check(source.golden_path, pipeline)
    if as_manifest:
        click.echo(yaml.safe_dump(spec.as_manifest(), sort_keys=False, allow_unicode=True), nl=False)
    elif as_json:
        click.echo(json.dumps(_as_json(file.signature, spec, pipeline.provider), indent=2))
    else:
        Console().print(_conclusions(spec))
        Console().print(f"runs on {pipeline.provider}")


def _as_json(signature: Signature, spec: ModelSpec, provider: str) -> dict[str, Any]:
    return {
        "digest": signature.digest,
        "provider": provider,
        "inputs": [str(each) for each in signature.inputs],
        "outputs": [str(each) for each in signature.outputs],
        "metadata": dict(signature.metadata),
        "manifest": spec.as_manifest(),
        "reasons": dict(spec.reasons),
    }


def _file(source: VersionSource, signature: Signature) -> Table:
    table = Table(Column("file", no_wrap=True), Column(escape(str(source.path)), overflow="fold"))
    table.add_row("digest", signature.digest)
    for name, tensors in (("input", signature.inputs), ("output", signature.outputs)):
        for tensor in tensors:
            table.add_row(name, escape(str(tensor)))
    for key, value in signature.metadata.items():
        table.add_row(f"metadata {escape(key)}", escape(_short(value)))
    return table


def _conclusions(spec: ModelSpec) -> Table:
    table = Table(Column("manifest key", no_wrap=True), "value", "because of")
    for key, value in _flat(spec.as_manifest()):
        table.add_row(key, escape(_short(_shown(value))), escape(spec.reasons[key]))
    return table


def _flat(manifest: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keys of the manifest, those of sections with the section's name before them."""
    for key, value in manifest.items():
        if key in ("input", "options"):
            yield from ((f"{key}.{inner}", each) for inner, each in value.items())
        else:
            yield key, value


def _shown(value: Any) -> str:  # noqa: ANN401 - whatever a manifest may hold
    if isinstance(value, list):
        listed = ", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in value)
        return f"{len(value)}: {listed}" if value and isinstance(value[0], str) else listed
    return f"{value:g}" if isinstance(value, float) else str(value)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
