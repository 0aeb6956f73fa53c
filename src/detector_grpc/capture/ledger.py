"""Which pictures are worth keeping beside those that were kept: budget, cooldown and near-duplicates.

The ledger is a SQLite file that all server processes of a machine share, so that the budget is theirs together, and a
scene that one of them has kept is known to all. It has a row for every picture that was kept, for a week.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.capture.files import make_folder
from detector_grpc.lock import locked
from detector_grpc.vision.fingerprint import is_near

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from detector_grpc.capture.erasure import Selection

log = logging.getLogger(__name__)

FILE = "ledger.sqlite"

_HOUR_S = 3600.0
# A scene that comes again after that is worth another look.
_REMEMBERED_S = 7 * 24 * _HOUR_S
# Of one stream and version, the latest that are compared with.
_MOST_COMPARED = 200
# Clocks of one machine may differ by what it takes to read them one after the other.
_CLOCK_MARGIN_S = 1.0
_BUSY_S = 2.0
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_TABLES = """
CREATE TABLE IF NOT EXISTS kept (
  id INTEGER PRIMARY KEY, at REAL NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL, stream TEXT NOT NULL,
  request TEXT NOT NULL, fingerprint BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS kept_at ON kept (at);
CREATE INDEX IF NOT EXISTS kept_stream ON kept (stream, at);
"""


class Budget(NamedTuple):
    """What may be kept.

    Attributes:
        max_per_hour: Most pictures in an hour.
        max_per_stream: Most pictures of one stream in an hour.
        cooldown_s: Least seconds between two of one stream.
    """

    max_per_hour: int
    max_per_stream: int
    cooldown_s: float


class Origin(NamedTuple):
    """Where a picture comes from.

    Attributes:
        model: Name of the model that looked at it.
        version: The version that did.
        stream: What it is a frame of; empty for none.
        request_id: Id of its call.
    """

    model: str
    version: str
    stream: str
    request_id: str


class Verdict(Enum):
    """Whether a picture is kept, and why not."""

    ADMITTED = "admitted"
    OVER_BUDGET = "over_budget"
    COOLDOWN = "cooldown"
    DUPLICATE = "duplicate"


class Admission(NamedTuple):
    """What the ledger says.

    Attributes:
        verdict: Whether the picture is kept.
        wait_s: Seconds for which the ledger would say the same of any picture.
        of_stream: Whether it would say that of pictures of this stream only.
        entry: Its row, where it is kept.
    """

    verdict: Verdict
    wait_s: float = 0.0
    of_stream: bool = False
    entry: int | None = None


class Ledger:
    """For one thread.

    Args:
        folder: Where the file is, or will be.
        budget: What may be kept.
    """

    def __init__(self, folder: Path, budget: Budget) -> None:
        self._folder = folder
        self._budget = budget
        self._file = folder / FILE
        self._database: sqlite3.Connection | None = None
        self._inode: int | None = None
        self.clock_steps = 0

    def admit(self, origin: Origin, fingerprint: bytes, now: float) -> Admission:
        """Says whether a picture is kept, and counts it if it is.

        Args:
            origin: Where it comes from.
            fingerprint: As vision.fingerprint makes it.
            now: Seconds since the epoch.

        Raises:
            sqlite3.Error: The ledger cannot be read or written.
            OSError: Neither can its folder.
        """
        with self._transaction() as database:
            self._mend_clock(database, now)
            database.execute("DELETE FROM kept WHERE at < ?", (now - _REMEMBERED_S,))
            refused = self._refused(database, origin, fingerprint, now)
            if refused is not None:
                return refused
            added = database.execute(
                "INSERT INTO kept (at, model, version, stream, request, fingerprint) VALUES (?, ?, ?, ?, ?, ?)",
                (now, *origin, fingerprint),
            )
            return Admission(Verdict.ADMITTED, entry=added.lastrowid)

    def forget(self, entry: int) -> None:
        """Takes back an admission: the picture could not be kept. Raises as `admit`."""
        with self._transaction() as database:
            database.execute("DELETE FROM kept WHERE id = ?", (entry,))

    def erase(self, selection: Selection) -> int:
        """Forgets all pictures that are to be erased; how many there were. Raises as `admit`."""
        since = selection.since.timestamp() if selection.since else None
        until = selection.until.timestamp() if selection.until else None
        with self._transaction() as database:
            return database.execute(
                "DELETE FROM kept WHERE stream = coalesce(?1, stream) AND request = coalesce(?2, request) "
                "AND at >= coalesce(?3, at) AND (?4 IS NULL OR at < ?4)",
                (selection.stream_id, selection.request_id, since, until),
            ).rowcount

    def close(self) -> None:
        """Closes the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _refused(
        self, database: sqlite3.Connection, origin: Origin, fingerprint: bytes, now: float
    ) -> Admission | None:
        budget = self._budget
        last = database.execute(
            "SELECT at FROM kept WHERE at > ? ORDER BY at DESC LIMIT 1 OFFSET ?",
            (now - _HOUR_S, budget.max_per_hour - 1),
        ).fetchone()
        if last is not None:
            return Admission(Verdict.OVER_BUDGET, last[0] + _HOUR_S - now)
        if origin.stream:
            of_stream = [
                at
                for (at,) in database.execute(
                    "SELECT at FROM kept WHERE stream = ? AND at > ? ORDER BY at DESC LIMIT ?",
                    (origin.stream, now - max(_HOUR_S, budget.cooldown_s), budget.max_per_stream),
                )
            ]
            if len(of_stream) == budget.max_per_stream and of_stream[-1] > now - _HOUR_S:
                return Admission(Verdict.OVER_BUDGET, of_stream[-1] + _HOUR_S - now, of_stream=True)
            if of_stream and now - of_stream[0] < budget.cooldown_s:
                return Admission(Verdict.COOLDOWN, of_stream[0] + budget.cooldown_s - now, of_stream=True)
        known = database.execute(
            "SELECT fingerprint FROM kept WHERE stream = ? AND model = ? AND version = ? ORDER BY at DESC LIMIT ?",
            (origin.stream, origin.model, origin.version, _MOST_COMPARED),
        )
        return Admission(Verdict.DUPLICATE) if is_near(fingerprint, [each for (each,) in known]) else None

    def _mend_clock(self, database: sqlite3.Connection, now: float) -> None:
        """Where the clock has gone back, moves what was kept with it, so that the budget is neither lost nor gained."""
        latest = database.execute("SELECT max(at) FROM kept").fetchone()[0]
        if latest is None or latest <= now + _CLOCK_MARGIN_S:
            return
        database.execute("UPDATE kept SET at = at - ?", (latest - now,))
        self.clock_steps += 1
        log.warning(
            "the clock of this machine has gone back; samples may bear times of before and after: "
            "see that it is kept by NTP",
            extra={"seconds": round(latest - now, 1)},
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            database = self._connected()
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if _is_broken(error):
                self._begin_anew()
            raise

    def _connected(self) -> sqlite3.Connection:
        if self._database is not None and _inode(self._file) != self._inode:  # somebody has begun it anew
            self.close()
        if self._database is None:
            make_folder(self._folder)
            self._inode = _inode(self._file)
            try:
                self._database = _connect(self._file)
            except sqlite3.DatabaseError as error:
                if not _is_broken(error):
                    raise
                self._begin_anew()
                self._database = _connect(self._file)
            self._inode = _inode(self._file)
        return self._database

    def _begin_anew(self) -> None:
        """Sets the file aside, so that another is made, unless another process has done so."""
        self.close()
        with locked(self._folder, _BUSY_S):
            if _inode(self._file) != self._inode:
                return
            aside = self._file.with_suffix(f".broken-{time.time():.0f}")
            self._file.rename(aside)
            for suffix in ("-wal", "-shm"):
                self._file.with_name(f"{FILE}{suffix}").unlink(missing_ok=True)
        log.error("the ledger of samples cannot be read, and is begun anew", extra={"kept_as": str(aside)})


def _is_broken(error: sqlite3.DatabaseError) -> bool:
    """Whether it is of the file, not of the disk or the lock."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN


def _inode(file: Path) -> int | None:
    try:
        return file.stat().st_ino
    except FileNotFoundError:
        return None


def _connect(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(f"BEGIN; {_TABLES} COMMIT;")
    except BaseException:
        database.close()
        raise
    return database
