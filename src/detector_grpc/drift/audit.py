"""Who changed which reference, when, and from what to what."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from detector_grpc.drift import files
from detector_grpc.drift.reference import summary

if TYPE_CHECKING:
    from pathlib import Path

    from detector_grpc.drift.observation import Watched
    from detector_grpc.drift.reference import Reference

log = logging.getLogger(__name__)

AUDIT_FILE = "audit.jsonl"

# Who changes references where no caller does: what was learned, a new model file, and what is in the reference file.
LEARNED, NEW_FILE, REFERENCE_FILE = "(learned)", "(new model file)", "(reference file)"


class Audit:
    """The audit log: a file with a JSON object a line. For one thread at a time.

    Args:
        folder: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / AUDIT_FILE
        self._unwritten = ""

    def add(self, watched: Watched, caller: str, before: Reference | None, after: Reference | None) -> None:
        """Tells the log of the process, and keeps it to be written."""
        at, names = datetime.now(UTC).isoformat(timespec="seconds"), watched._asdict()
        entry = {"at": at, "caller": caller, **names, "before": _said(before), "after": _said(after)}
        log.info("the reference was changed", extra={"audit": entry})
        self._unwritten += f"{json.dumps(entry)}\n"

    def write(self) -> None:
        """Writes what was added.

        Raises:
            OSError: Nothing was written; it is kept for the next time.
        """
        if self._unwritten:
            files.append(self._path, self._unwritten)
            self._unwritten = ""


def _said(reference: Reference | None) -> dict[str, Any] | None:
    told = summary(reference)
    return told and {"source": told.source, "made_at": told.made_at_s, "observations": told.observations}
