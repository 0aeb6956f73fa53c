"""`detector-grpc samples upload`: brings what waits on this machine to the sink."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import click

from detector_grpc.capture.sinks.sink import SinkError
from detector_grpc.capture.spool import samples_in, spool_folder
from detector_grpc.capture.uploader import bring
from detector_grpc.capturing import sample_spool
from detector_grpc.cli.connection import json_option
from detector_grpc.cli.options import with_settings_of
from detector_grpc.cli.progress import progress_bar
from detector_grpc.cli.samples.sink import opened_sink

if TYPE_CHECKING:
    from detector_grpc.settings import Settings


log = logging.getLogger(__name__)

# One after the other: then the sink is away, and not only a sample bad.
_MOST_FAILURES = 3


@click.command()
@with_settings_of("log_level", "s3_bucket_name", "capture")
@json_option
def upload(settings: Settings, *, as_json: bool) -> None:
    """Bring to the sink what servers that run no more have left on this machine.

    Servers that run bring their own. Take the settings of the servers, of which those of the sink matter.
    """
    uploaded = failures = 0
    failed: set[str] = set()
    with opened_sink(settings) as sink, closing(sample_spool(settings, sink)) as spool:
        spool.open()
        waiting = spool.adopt()
        with progress_bar(waiting) as progress:
            task = progress.add_task("uploading", total=waiting)
            while (name := spool.oldest(failed)) is not None:
                try:
                    uploaded += bring(spool, sink, name) is not None
                    failures = 0
                except (SinkError, OSError) as error:
                    failed.add(name)
                    failures += 1
                    if failures == _MOST_FAILURES:
                        raise
                    log.warning("a sample stays on this machine: %s", error)
                progress.advance(task)
        left = sum(1 for _ in samples_in(spool_folder(settings.capture.state_folder, sink.name))) - len(failed)
    done = {
        "uploaded": uploaded,
        "failed": len(failed),
        "lost": sum(spool.lost.values()),
        "with_servers": left,
        "sink": sink.place,
    }
    click.echo(json.dumps(done) if as_json else _sentence(done))
    sys.exit(bool(failed))


def _sentence(done: dict[str, object]) -> str:
    others = f"; {done['with_servers']} wait with servers that run" if done["with_servers"] else ""
    lost = f"; {done['lost']} could not be used" if done["lost"] else ""
    failed = f"; {done['failed']} were not taken" if done["failed"] else ""
    return f"{done['uploaded']} samples brought to {done['sink']}{failed}{lost}{others}"
