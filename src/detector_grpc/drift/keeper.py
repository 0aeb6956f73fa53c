"""What outlives the process: the series in a store, the references also in a file for people, and who changed them."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from detector_grpc.drift import files, parts, reference_file
from detector_grpc.drift.audit import REFERENCE_FILE
from detector_grpc.drift.observation import Watched
from detector_grpc.drift.reference import NEEDED, summary
from detector_grpc.drift.reference_file import Kept
from detector_grpc.drift.store import Part, Past
from detector_grpc.errors import ReferenceInvalid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from detector_grpc.drift.audit import Audit
    from detector_grpc.drift.monitor import Monitor, VersionMonitor
    from detector_grpc.drift.reference import Reference, Summary
    from detector_grpc.drift.store import Store

log = logging.getLogger(__name__)

# What is written, in words.
STATE, REFERENCES, AUDIT = "the state", "the reference file", "the audit log"


class Keeper:
    """Keeps a monitor on disk; for one thread at a time. What cannot be written is tried again with what comes next.

    Args:
        monitor: What is watched; empty. Gets what was kept.
        store: Where the series are.
        references: Reference file, which is read now and written whenever a reference changes.
        audit: Where changes of references are written down.
        needed: Observations that a reference must have.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        monitor: Monitor,
        store: Store,
        references: Path,
        audit: Audit,
        needed: int = NEEDED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._monitor = monitor
        self._store = store
        self._path = references
        self._holds_more = False  # than is known
        self._audit = audit
        self._clock = clock
        self._in_history: dict[Watched, Reference | None] = {}
        self._in_file: dict[Watched, Reference | None] = {}
        self._failing: set[str] = set()
        self._restore()
        self._read_references(needed)

    @property
    def stored(self) -> bool:
        """Whether all that was to be written has been."""
        return not self._failing

    def write(self, watched: Watched) -> None:
        """Writes what has changed of a version, and its reference where it has another one."""
        self._tolerating(AUDIT, self._audit.write)
        version = self._monitor.versions[watched]
        if self._tolerating(STATE, lambda: self._write_state(watched, version)):
            self._monitor.forgotten.clear()
            version.forgotten.clear()
            version.is_stored = True
            for series in (version.series, *version.groups.values()):
                series.changed.clear()
            self._in_history[watched] = version.series.reference
        if version.series.reference is not self._in_file.get(watched):
            self._tolerating(REFERENCES, self._write_references)

    def changed(self, watched: Watched, caller: str, before: Reference | None) -> None:
        """Writes down that a version has another reference than before.

        Args:
            watched: The version.
            caller: Who changed it.
            before: Its reference before.
        """
        self._audit.add(watched, caller, before, self._monitor.versions[watched].series.reference)
        self.write(watched)

    def past(self, watched: Watched) -> dict[int, Summary]:
        """The references that a version had, by number, the latest first."""
        return self._store.past(watched)

    def past_reference(self, watched: Watched, number: int) -> Reference | None:
        """One of them; None if there is none of this number."""
        file = self._store.past_file(watched, number)
        return None if file is None else reference_file.from_json(file, 0)[0].reference

    def _write_state(self, watched: Watched, version: VersionMonitor) -> None:
        bodies = [
            Part(watched, name, part, parts.dump(series, part))
            for name, series in {"": version.series, **version.groups}.items()
            for part in sorted(series.changed)
        ]
        reference, history = version.series.reference, None
        told = summary(reference)
        if reference is not None and told is not None and reference is not self._in_history.get(watched):
            history = Past(told, reference_file.to_json([Kept(watched, version.digest, reference)]))
        gone = [*self._monitor.forgotten, *(() if version.is_stored else (watched,))]
        self._store.write(watched, version.digest, bodies, version.forgotten, gone, history)

    def _write_references(self) -> None:
        if self._holds_more:
            aside = files.set_aside(self._path)
            log.warning("the reference file that was not used is kept", extra={"kept_as": str(aside)})
            self._holds_more = False
        kept = [
            Kept(watched, version.digest, version.series.reference)
            for watched, version in sorted(self._monitor.versions.items())
            if version.series.reference is not None
        ]
        reference_file.write(self._path, kept)
        self._in_file = {each.watched: each.reference for each in kept}

    def _tolerating(self, what: str, work: Callable[[], None]) -> bool:
        """Whether something on disk could be done; watching goes on without."""
        try:
            work()
        except (OSError, sqlite3.Error) as error:
            if what not in self._failing:
                log.error("%s of drift cannot be written", what, extra={"cause": str(error)})  # noqa: TRY400
            self._failing.add(what)
            return False
        self._failing.discard(what)
        return True

    def _restore(self) -> None:
        """Reads what another process has written."""
        for model, name, digest in self._store.versions():
            watched = Watched(model, name)
            version = self._monitor.begin(watched, digest)
            bodies: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
            for stream, part, body in self._store.parts(watched):
                bodies[stream][part] = body
            found = {}
            for stream, some in bodies.items():
                shape = version.group_shape if stream else version.series.shape
                try:
                    found[stream] = parts.restored(shape, some)
                except Exception as error:  # noqa: BLE001 - bytes can be wrong in any way
                    log.error("a series cannot be read", extra={"stream": stream, "cause": str(error)})  # noqa: TRY400
                    version.forgotten.append(stream)
            version.is_stored = True
            version.series = found.pop("", version.series)
            for stream, series in sorted(found.items(), key=lambda each: each[1].latest_s):
                version.keep(stream, series, self._clock())
            self._in_history[watched] = version.series.reference

    def _read_references(self, needed: int) -> None:
        """Takes over what somebody has put into the reference file; one that cannot be read changes nothing."""
        try:
            kept = reference_file.read(self._path, needed)
        except ReferenceInvalid as error:
            log.error("the reference file is not used: %s", error.message)  # noqa: TRY400
            self._holds_more = True
            return
        for each in kept:
            self._take_over(each)
        if not self._holds_more:
            for watched in self._monitor.versions:  # whose reference may not be there, since the process was killed
                self.write(watched)

    def _take_over(self, kept: Kept) -> None:
        """Uses a reference of the file, if it is a newer one of the same model file."""
        version = self._monitor.versions.get(kept.watched) or self._monitor.begin(kept.watched, kept.digest)
        before, made_at_s = version.series.reference, kept.reference.made_at_s
        if kept.digest not in ("", version.digest):
            self._leave(kept, "its model file is another one")
        elif before is not None and before.made_at_s > made_at_s:
            self._leave(kept, "a newer one is known")
        elif before is not None and before.made_at_s == made_at_s:
            self._in_file[kept.watched] = before
        else:
            version.series.use(kept.reference, self._clock())
            self._in_file[kept.watched] = kept.reference
            self.changed(kept.watched, REFERENCE_FILE, before)

    def _leave(self, kept: Kept, why: str) -> None:
        log.warning("a reference of the file is not used: %s", why, extra=kept.watched._asdict())
        self._holds_more = True
