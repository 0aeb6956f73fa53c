"""`detector-grpc models pull`: a model from the network, ready to be served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console

from detector_grpc.cli.connection import connected_to_processes, is_unreachable, json_option
from detector_grpc.cli.orders import Report, loaded, show
from detector_grpc.cli.pulling import checked_digest, checked_name, pulling
from detector_grpc.errors import VersionNotFound
from detector_grpc.hub.places import is_address

if TYPE_CHECKING:
    from detector_grpc.cli.connection import Connection
    from detector_grpc.cli.pulling import Pulling
    from detector_grpc.hub.pull import Pulled, Wanted


@click.command()
@pulling
@connected_to_processes
@click.argument("what", metavar="NAME|URL")
@click.option("--model", default="", callback=checked_name, help="Name of the model; as the file if not given.")
@click.option("--model-version", default="", callback=checked_name, help="Name of the version; the next if not given.")
@click.option("--sha256", default="", metavar="DIGITS", help="What the file behind a URL must have.")
@click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the file behind a URL does not say of itself (docs/models.md).",
)
@json_option
@click.pass_context
def pull(
    context: click.Context,
    connections: list[Connection],
    *,
    how: Pulling,
    what: str,
    model: str,
    model_version: str,
    sha256: str,
    manifest: Path | None,
    as_json: bool,
) -> None:
    """Bring a model into a model repository; into the folder `models` if none is set.

    NAME is one of `models catalogue`. URL is https://…, hf://OWNER/REPOSITORY[@REVISION]/PATH, s3://BUCKET/KEY or
    file:///PATH, of an ONNX file. It becomes a version once it has come whole and can be served, and a server that runs
    loads it. What was cut off goes on where it was, also after Ctrl-C. A model is a program: bring only those of people
    whom you trust.
    """
    if is_address(what):
        said = manifest.read_text(encoding="utf-8") if manifest else ""
        digests = frozenset({checked_digest(sha256)} if sha256 else ())
        wanted = how.at(what, said, digests, model, model_version)
    elif sha256 or manifest:
        raise click.UsageError("--sha256 and --manifest are for URLs; the catalogue has its own")
    else:
        wanted = how.of_catalogue(what, model, model_version)
    bring_and_load(context, connections, how, wanted, as_json=as_json)


def bring_and_load(
    context: click.Context, connections: list[Connection], how: Pulling, wanted: Wanted, *, as_json: bool
) -> None:
    """Has a model brought and loaded, and says what has become of it."""
    pulled = how.bring(wanted)
    was_asked = context.get_parameter_source("addresses") is ParameterSource.COMMANDLINE
    reports = loaded(connections, pulled.version.model, pulled.version.version)
    if as_json:
        click.echo(json.dumps(_facts(wanted, pulled, reports)))
    else:
        _tell(wanted, pulled, reports)
    if any(report.fault and (was_asked or not _is_elsewhere(report)) for report in reports):
        raise click.exceptions.Exit(1)


def _tell(wanted: Wanted, pulled: Pulled, reports: list[Report]) -> None:
    version, console = pulled.version, Console(highlight=False, soft_wrap=True)
    is_now = "is now" if pulled.is_new else "was already"
    console.print(f"{version.model} {version.version} {is_now} {version.path}, sha256:{pulled.digest}", markup=False)
    if not wanted.digests:
        what = f"what came has the sha256 {pulled.came}" if wanted.make else f"--sha256 {pulled.came} does from now on"
        console.print(f"Nothing says whether that is what was meant; {what}.")
    if all(map(_is_elsewhere, reports)):
        console.print(
            f"No server that runs has {wanted.repository}; this one would: detector-grpc up --models-repository "
            f"{wanted.repository}",
            markup=False,
        )
        return
    for report in reports:
        show(console, report)


def _facts(wanted: Wanted, pulled: Pulled, reports: list[Report]) -> dict[str, Any]:
    return {
        "model": pulled.version.model,
        "version": pulled.version.version,
        "path": str(pulled.version.path),
        "digest": f"sha256:{pulled.digest}",
        "made_of": f"sha256:{pulled.came}",
        "checked": bool(wanted.digests),
        "new": pulled.is_new,
        "servers": [report.as_json() for report in reports if not _is_elsewhere(report)],
    }


def _is_elsewhere(report: Report) -> bool:
    """Whether there is no server, or one that serves from other places."""
    failure = report.failure
    return failure is not None and (is_unreachable(failure) or failure.reason == VersionNotFound.reason)
