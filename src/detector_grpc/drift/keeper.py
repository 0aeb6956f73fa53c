"""What outlives the process: the series in a store, the references also in a file for people, and who changed them."""

from __future__ import annotations

import json
import logging
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from detector_grpc.drift import parts, reference_file
from detector_grpc.drift.observation import Watched
from detector_grpc.drift.reference import Reference, of_blocks
from detector_grpc.drift.reference_file import Kept
from detector_grpc.drift.store import Part
from detector_grpc.errors import ReferenceInvalid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from detector_grpc.drift.monitor import Monitor, VersionMonitor
    from detector_grpc.drift.store import Store

log = logging.getLogger(__name__)

AUDIT_FILE = "audit.jsonl"

# What is written, in words.
STATE, REFERENCE, PAST, AUDIT = "the state", "the reference file", "the history of references", "the audit log"


class Keeper:
    """Keeps a monitor on disk; for one thread at a time. What cannot be written is tried again with what comes next.

    Args:
        monitor: What is watched; empty. Gets what was kept.
        store: Where the series are.
        references: Reference file, which is read now and written whenever a reference changes.
        folder: Where the audit log is.
        needed: Observations that a reference must have.

    """

    def __init__(self, monitor: Monitor, store: Store, references: Path, folder: Path, needed: int) -> None:
        self._monitor = monitor
        self._store = store
        self._references = references
        self._audit = folder / AUDIT_FILE
        self._known: dict[Watched, Reference | None] = {}
        self._failing: set[str] = set()
        self._restore()
        self._read_references(needed)

    @property
    def stored(self) -> bool:
        """Whether all that was to be written has been."""
        return not self._failing

    def write(self, watched: Watched) -> None:
        """Writes what has changed of a version, and its reference where it has another one."""
        version = self._monitor.versions[watched]
        groups = {"": version.series, **version.groups}
        changed = [(name, series, sorted(series.changed)) for name, series in groups.items() if series.changed]
        bodies = [
            Part(watched, name, part, parts.dump(series, part)) for name, series, some in changed for part in some
        ]
        if self._tolerating(STATE, lambda: self._store.write(watched, version.digest, bodies, version.forgotten)):
            version.forgotten.clear()
            for _, series, _ in changed:
                series.changed.clear()
        if version.series.reference is not self._known.get(watched):
            self._write_reference(watched, version)

    def forget(self, watched: Watched) -> None:
        """Forgets what is known of a version, but not the references that it had."""
        self._tolerating(STATE, lambda: self._store.forget(watched))

    def past(self, watched: Watched) -> dict[int, Reference]:
        """The references that a version had, by number, the latest first."""
        return {number: reference_file.from_json(text, 0)[0].reference for number, text in self._store.past(watched)}

    def audit(self, watched: Watched, caller: str, before: Reference | None, after: Reference | None) -> None:
        """Writes down who changed a reference, when, and from what to what."""
        at, names = datetime.now(UTC).isoformat(timespec="seconds"), watched._asdict()
        entry = {"at": at, "caller": caller, **names, "before": _said(before), "after": _said(after)}
        log.info("the reference was changed", extra={"audit": entry})
        self._tolerating(AUDIT, lambda: self._append(json.dumps(entry)))

    def _append(self, line: str) -> None:
        with self._audit.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def _write_reference(self, watched: Watched, version: VersionMonitor) -> None:
        """Writes the reference file anew, and remembers what it says."""
        reference = version.series.reference
        self._known[watched] = reference
        kept = [
            Kept(each, monitor.digest, monitor.series.reference)
            for each, monitor in sorted(self._monitor.versions.items())
            if monitor.series.reference is not None
        ]
        self._tolerating(REFERENCE, lambda: reference_file.write(self._references, kept))
        if reference is not None:
            own = reference_file.to_json([Kept(watched, version.digest, reference)])
            self._tolerating(PAST, lambda: self._store.add_past(watched, own))

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
            bodies: dict[str, dict[str, bytes]] = {}
            for stream, part, body in self._store.parts(watched):
                bodies.setdefault(stream, {})[part] = body
            for stream, some in bodies.items():
                series = version.group(stream) if stream else version.series
                try:
                    parts.restore(series, some)
                except (KeyError, TypeError, ValueError) as error:
                    log.error("a series cannot be read", extra={"stream": stream, "cause": str(error)})  # noqa: TRY400
                series.changed.clear()
            self._known[watched] = version.series.reference

    def _read_references(self, needed: int) -> None:
        """Takes over what somebody has put into the reference file; one that cannot be read changes nothing."""
        try:
            kept = reference_file.read(self._references, needed)
        except ReferenceInvalid as error:
            log.error("the reference file is not used: %s", error.message)  # noqa: TRY400
            return
        for each in kept:
            version = self._monitor.versions.get(each.watched)
            if version is None:
                version = self._monitor.begin(each.watched, each.digest)
            now = version.series.reference
            if each.digest in ("", version.digest) and (now is None or now.made_at_s < each.reference.made_at_s):
                version.series.use(each.reference)
                self._known[each.watched] = each.reference  # it is in the file
                self.write(each.watched)


def _said(reference: Reference | None) -> dict[str, Any] | None:
    if reference is None:
        return None
    observations = of_blocks(reference.blocks)
    return {"source": reference.source, "made_at": reference.made_at_s, "observations": observations}
