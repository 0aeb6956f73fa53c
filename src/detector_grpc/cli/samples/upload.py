"""`detector-grpc samples upload`: brings what waits on this machine to the sink."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import click

from detector_grpc.capture.spool import samples_in, spool_folder
from detector_grpc.capture.uploader import bring
from detector_grpc.capturing import sample_spool
from detector_grpc.cli.connection import json_option
from detector_grpc.cli.options import with_settings_of
from detector_grpc.cli.progress import progress_bar
from detector_grpc.cli.samples.sink import opened_sink

if TYPE_CHECKING:
    from detector_grpc.settings import Settings


@click.command()
@with_settings_of("log_level", "s3_bucket_name", "capture")
@json_option
def upload(settings: Settings, *, as_json: bool) -> None:
    """Bring to the sink what servers that run no more have left on this machine.

    Servers that run bring their own. Take the settings of the servers, of which those of the sink matter.
    """
    uploaded = 0
    with opened_sink(settings) as sink, closing(sample_spool(settings, sink)) as spool:
        spool.open()
        waiting = spool.adopt()
        with progress_bar(waiting) as progress:
            task = progress.add_task("uploading", total=waiting)
            while (name := spool.oldest(set())) is not None:
                uploaded += bring(spool, sink, name) is not None
                progress.advance(task)
        left = sum(1 for _ in samples_in(spool_folder(settings.capture.state_folder, sink.name)))
    done = {"uploaded": uploaded, "lost": sum(spool.lost.values()), "with_servers": left, "sink": sink.place}
    click.echo(json.dumps(done) if as_json else _sentence(done))


def _sentence(done: dict[str, object]) -> str:
    others = f"; {done['with_servers']} wait with servers that run" if done["with_servers"] else ""
    lost = f"; {done['lost']} could not be used" if done["lost"] else ""
    return f"{done['uploaded']} samples brought to {done['sink']}{lost}{others}"
