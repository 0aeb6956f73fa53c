"""`detector-grpc health`: whether a server or a gateway can answer."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detector_grpc.cli.connection import Connection, connected, json_option
from detector_grpc.cli.smoke import Rest, smoke
from detector_grpc.client import CallFailed, Detector

if TYPE_CHECKING:
    from collections.abc import Iterator

BUNDLED_PICTURE = Path(str(files("detector_grpc") / "bundled" / "pictures" / "desk.jpg"))

LOCAL_GATEWAY = "http://localhost:8000"

SERVING = "SERVING"
UNKNOWN = "SERVICE_UNKNOWN"
UNREACHABLE = "UNREACHABLE"

# How a watch ends when the server stops: refused, cut, or cancelled while it drains.
_SERVER_GONE = frozenset({"UNAVAILABLE", "CANCELLED"})
_RETRY_S = 1.0


@click.command()
@connected
@click.argument("service", default="")
@json_option
@click.option("--watch", is_flag=True, help="Print every change until Ctrl-C, across restarts of the server.")
@click.option(
    "--rest",
    metavar="[URL]",
    is_flag=False,
    flag_value=LOCAL_GATEWAY,
    help=f"Ask a gateway by REST instead, also for the objects in a picture.  [without URL: {LOCAL_GATEWAY}]",
)
@click.option(
    "--picture",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Picture to send with --rest; else a bundled one.",
)
def health(
    connection: Connection, *, service: str, as_json: bool, watch: bool, rest: str | None, picture: Path | None
) -> None:
    """Say whether a server or a gateway can answer.

    The exit code is 0 only if the last word is SERVING, and with --rest only if everything that is asked is answered as
    documented.

    SERVICE is the full name of a service, or models/<model>/versions/<version>; without it, the whole server.
    """
    if rest is not None:
        if service or watch:
            raise click.UsageError("--rest asks a gateway once, as a whole: it goes with neither SERVICE nor --watch")
        _smoke(Rest(rest, connection.token, connection.tls), picture or BUNDLED_PICTURE, as_json=as_json)
        return
    if picture is not None:
        raise click.UsageError("--picture goes with --rest")
    status = ""
    with Detector(connection.address, token=connection.token, tls=connection.tls) as detector:
        try:
            for status in _changes(detector, service) if watch else [_now(detector, service)]:
                click.echo(json.dumps({"service": service, "status": status}) if as_json else status)
        except KeyboardInterrupt:
            if not watch:
                raise
    if status != SERVING:
        raise click.exceptions.Exit(1)


def _smoke(rest: Rest, picture: Path, *, as_json: bool) -> None:
    """Prints a line for each thing that is asked."""
    failed = False
    for check in smoke(rest, picture.read_bytes()):
        failed = failed or not check.ok
        verdict = click.style("ok    ", fg="green") if check.ok else click.style("failed", fg="red")
        click.echo(json.dumps(asdict(check)) if as_json else f"{verdict}  {check.what}: {check.detail}")
    if failed:
        raise click.exceptions.Exit(1)


def _now(detector: Detector, service: str) -> str:
    """The status, by the words of a watch."""
    try:
        return detector.health(service)
    except CallFailed as failure:
        if failure.code != "NOT_FOUND":
            raise
        return UNKNOWN


def _changes(detector: Detector, service: str) -> Iterator[str]:
    """The status now, and at every change."""
    last = ""
    while True:
        for status in _until_gone(detector, service):
            if status != last:
                yield status
            last = status
        time.sleep(_RETRY_S)


def _until_gone(detector: Detector, service: str) -> Iterator[str]:
    """The status now and at every change of one server process, at last UNREACHABLE."""
    try:
        yield from detector.watch_health(service)
    except CallFailed as failure:
        if failure.code not in _SERVER_GONE:
            raise
    yield UNREACHABLE
