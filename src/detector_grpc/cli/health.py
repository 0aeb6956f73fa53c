"""`detector-grpc health`: whether a server can answer."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from detector_grpc.cli.connection import Connection, connected, json_option
from detector_grpc.client import CallFailed, Detector

if TYPE_CHECKING:
    from collections.abc import Iterator

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
def health(connection: Connection, *, service: str, as_json: bool, watch: bool) -> None:
    """Say whether a server can answer.

    The exit code is 0 only if the last word is SERVING.

    SERVICE is the full name of a service, or models/<model>/versions/<version>; without it, the whole server.
    """
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
