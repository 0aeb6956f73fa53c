"""Erases samples: of a stream, of a time, of a request, wherever they are."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detector_grpc.capture.sample import SIDECAR_SUFFIX, Sample, SampleInvalid, Sidecar
from detector_grpc.capture.sinks.sink import ObjectMissing, delete_sample
from detector_grpc.capture.spool import samples_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from detector_grpc.capture.sinks.sink import Sink


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """Which samples are meant: those for which all holds that is set.

    Attributes:
        stream_id: Their stream.
        request_id: Their call.
        since: When they were captured at the earliest.
        until: Before when they were captured.
    """

    stream_id: str | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __contains__(self, sidecar: Sidecar) -> bool:
        return (
            self.stream_id in (None, sidecar.stream_id)
            and self.request_id in (None, sidecar.request_id)
            and (self.since is None or sidecar.captured_at >= self.since)
            and (self.until is None or sidecar.captured_at < self.until)
        )

    def days(self, day: str) -> bool:
        """Whether some of a day, as keys begin with it, may be meant."""
        return (self.since is None or day >= f"{self.since:%Y-%m-%d}") and (
            self.until is None or day <= f"{self.until:%Y-%m-%d}"
        )


def sidecars(sink: Sink, selection: Selection) -> Iterator[Sidecar]:
    """Sidecars of the samples in a sink that are meant.

    One that cannot be read is passed over, and named in the log: nobody knows whose it is. Raises SinkError.
    """
    for key in sink.walk():
        if not key.endswith(SIDECAR_SUFFIX) or not selection.days(key.partition("/")[0]):
            continue
        try:
            sidecar = Sidecar.from_json(sink.get(key))
        except ObjectMissing:  # erased meanwhile
            continue
        except SampleInvalid:
            log.warning("%s is no sidecar that can be read, and is passed over: look at it", key)
            continue
        if sidecar.keys.sidecar != key:  # what it says must lead to no other sample, nor out of the sink
            log.warning("%s is the sidecar of %s, and is passed over: look at it", key, sidecar.keys.picture)
            continue
        if sidecar in selection:
            yield sidecar


def erase(sink: Sink, selection: Selection) -> Iterator[Sidecar]:
    """Erases the samples in a sink that are meant, and tells of each. Raises SinkError."""
    for sidecar in list(sidecars(sink, selection)):
        delete_sample(sink, sidecar)
        yield sidecar


def erase_waiting(state: Path, selection: Selection) -> Iterator[Path]:
    """Erases the samples that wait on this machine and are meant, whoever keeps them, and tells the file of each.

    To be called before `erase`: what is on its way meanwhile is taken back by who brings it. What was set aside goes as
    well, if it is meant or cannot be read.

    Raises:
        OSError: They cannot be read or removed.
    """
    for path in list(samples_in(state)):
        try:
            meant = Sample.from_bytes(path.read_bytes()).sidecar in selection
        except FileNotFoundError:  # it has reached its sink
            continue
        except SampleInvalid:
            meant = True
        if meant:
            path.unlink(missing_ok=True)
            yield path
