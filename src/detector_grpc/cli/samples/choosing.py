"""How the commands on samples are told which ones, and where they are."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from detector_grpc.capture.erasure import Selection, sidecars
from detector_grpc.cli.options import with_settings_of
from detector_grpc.cli.samples.sink import opened_sink

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector_grpc.capture.sample import Sidecar
    from detector_grpc.capture.sinks.sink import Sink
    from detector_grpc.settings import Settings

TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"])

_OPTIONS = (
    click.option("--of-model", metavar="NAME", help="Only those of this model."),
    click.option("--of-version", metavar="NAME", help="Only those of this version."),
    click.option("--stream", metavar="ID", help="Only those of this stream (x-stream-id)."),
    click.option("--request-id", metavar="ID", help="Only that of this call (x-request-id)."),
    click.option("--since", type=TIME, help="Only those that were captured then or later, UTC."),
    click.option("--until", type=TIME, help="Only those that were captured before, UTC."),
    click.option("--labelled/--unlabelled", default=None, help="Only those that people have labelled, or have not."),
)


@dataclass(frozen=True)
class Chosen:
    """Samples.

    Attributes:
        sink: Where they are.
        sidecars: They, in the order in which they were captured.
    """

    sink: Sink
    sidecars: list[Sidecar]

    def most_uncertain(self, most: int) -> list[Sidecar]:
        """At most so many of them, the most uncertain first."""
        return sorted(self.sidecars, key=lambda sidecar: -sidecar.uncertainty.score)[:most]


def choosing(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command flags for settings, and options that choose samples; the Chosen is its first argument."""

    @with_settings_of("log_level", "s3_bucket_name", "capture")
    @functools.wraps(command)
    def run(
        settings: Settings,
        *,
        of_model: str | None,
        of_version: str | None,
        stream: str | None,
        request_id: str | None,
        since: datetime | None,
        until: datetime | None,
        labelled: bool | None,
        **arguments: object,
    ) -> None:
        with opened_sink(settings) as sink:
            found = [
                sidecar
                for sidecar in sidecars(sink, Selection(stream, request_id, utc(since), utc(until)))
                if of_model in (None, sidecar.model)
                and of_version in (None, sidecar.version)
                and labelled in (None, sidecar.labels is not None)
            ]
            command(Chosen(sink, sorted(found, key=lambda sidecar: sidecar.captured_at)), **arguments)

    chosen: Callable[..., None] = run
    for option in reversed(_OPTIONS):
        chosen = option(chosen)
    return chosen


def utc(time: datetime | None) -> datetime | None:
    """The same time of day, UTC."""
    return time.replace(tzinfo=UTC) if time else None
