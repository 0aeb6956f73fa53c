"""`detector-grpc samples purge`: erases samples."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from detector_grpc.capture.erasure import Selection, erase, erase_waiting
from detector_grpc.capturing import sample_ledger
from detector_grpc.cli.connection import json_option
from detector_grpc.cli.options import with_settings_of
from detector_grpc.cli.samples.sink import opened_sink

if TYPE_CHECKING:
    from detector_grpc.settings import Settings

_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"])


@click.command()
@with_settings_of("log_level", "s3_bucket_name", "capture")
@click.option("--stream", metavar="ID", help="Erase those of this stream (x-stream-id).")
@click.option("--request-id", metavar="ID", help="Erase those of this call (x-request-id).")
@click.option("--since", type=_TIME, help="Erase those that were captured then or later, UTC.")
@click.option("--until", type=_TIME, help="Erase those that were captured before, UTC.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def purge(
    settings: Settings,
    *,
    stream: str | None,
    request_id: str | None,
    since: datetime | None,
    until: datetime | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase samples, on this machine and in the sink: those for which all holds that is said of them.

    Take the settings of the servers, of which those of the sink matter. What other machines have not brought to the
    sink yet is to be erased there.
    """
    selection = Selection(stream, request_id, _utc(since), _utc(until))
    if selection == Selection():
        raise click.UsageError("say which: --stream, --request-id, --since, --until")
    if not yes:
        click.confirm("Erase them for good, with their labels?", abort=True, err=True)
    with opened_sink(settings) as sink, closing(sample_ledger(settings)) as ledger:
        ledger.erase(selection)
        waiting = sum(1 for _ in erase_waiting(settings.capture.state_folder, selection))
        erased = sum(1 for _ in erase(sink, selection))
    done = {"erased": erased, "erased_waiting": waiting, "sink": sink.place}
    sentence = f"{erased} samples erased in {sink.place}, and {waiting} that waited on this machine"
    click.echo(json.dumps(done) if as_json else sentence)


def _utc(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time else None
