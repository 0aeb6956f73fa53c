"""What outlives the process: a SQLite file, in which a batch of observations is whole or not at all."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from detector_grpc.drift.features import SCHEMA
from detector_grpc.drift.files import set_aside
from detector_grpc.drift.reference import Summary
from detector_grpc.errors import SetupInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from detector_grpc.drift.observation import Watched

log = logging.getLogger(__name__)

FILE = "drift.sqlite"
# Of the tables, and of the features that are in them.
_FORMAT = 2000 + SCHEMA
_MAX_PAST = 20

_TABLES = """
CREATE TABLE version (model TEXT, version TEXT, digest TEXT NOT NULL, PRIMARY KEY (model, version));
CREATE TABLE part (
  model TEXT, version TEXT, stream TEXT, name TEXT, body BLOB NOT NULL, PRIMARY KEY (model, version, stream, name)
) WITHOUT ROWID;
CREATE TABLE past (
  model TEXT, version TEXT, number INTEGER, source TEXT NOT NULL, made_at_s REAL NOT NULL,
  observations INTEGER NOT NULL, daily INTEGER NOT NULL, file TEXT NOT NULL, PRIMARY KEY (model, version, number)
);
"""


class Part(NamedTuple):
    """A part of a series.

    Attributes:
        watched: The version.
        stream: Id of the group of streams; empty for all of the version.
        name: Name of the part.
        body: Its bytes.
    """

    watched: Watched
    stream: str
    name: str
    body: bytes


class Past(NamedTuple):
    """A reference for the history.

    Attributes:
        summary: What people are told of it.
        file: Text of a reference file with it alone.
    """

    summary: Summary
    file: str


class Store:
    """For one thread at a time.

    Args:
        folder: Where the file is, or will be.

    Raises:
        SetupInvalid: There can be none.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = self._open()
        except (OSError, sqlite3.Error) as error:
            raise SetupInvalid([f"cannot keep the state of drift in {folder}: {error}"]) from error

    def _open(self) -> sqlite3.Connection:
        try:
            return _connect(self._file)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # of the disk, not of the file
                raise
            aside = set_aside(self._file)
            for companion in ("-wal", "-shm"):  # or SQLite would mend the new file by them
                with suppress(FileNotFoundError):
                    Path(f"{self._file}{companion}").rename(f"{aside}{companion}")
            log.error("the state of drift cannot be read, so learning begins anew", extra={"kept_as": str(aside)})  # noqa: TRY400
            return _connect(self._file)

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def versions(self) -> list[tuple[str, str, str]]:
        """Model, version and digest of all that is watched."""
        return self._database.execute("SELECT model, version, digest FROM version").fetchall()

    def parts(self, watched: Watched) -> Iterator[tuple[str, str, bytes]]:
        """Stream, name and bytes of all parts of a version, stream by stream."""
        query = "SELECT stream, name, body FROM part WHERE model = ? AND version = ? ORDER BY stream, name"
        return iter(self._database.execute(query, watched).fetchall())

    def write(
        self,
        watched: Watched,
        digest: str,
        parts: Iterable[Part],
        silent: Iterable[str] = (),
        gone: Iterable[Watched] = (),
        reference: Past | None = None,
    ) -> None:
        """Writes all that changed of a version, and forgets what is to be forgotten, but never references of before.

        Args:
            watched: The version.
            digest: Digest of its model file.
            parts: Parts that changed.
            silent: Streams of the version whose parts are forgotten before others are written.
            gone: Versions of which all parts are; it may be one of them itself.
            reference: What is compared with from now on, for the history; None: as before.

        Raises:
            sqlite3.Error: Nothing was written, e.g. since the disk is full.
        """
        with self._database as database:
            for table in ("part", "version"):
                database.executemany(f"DELETE FROM {table} WHERE model = ? AND version = ?", gone)  # noqa: S608 - ours
            database.execute("INSERT OR REPLACE INTO version VALUES (?, ?, ?)", (*watched, digest))
            database.executemany(
                "DELETE FROM part WHERE model = ? AND version = ? AND stream = ?",
                [(*watched, stream) for stream in silent],
            )
            database.executemany(
                "INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, ?)",
                [(*part.watched, part.stream, part.name, part.body) for part in parts],
            )
            if reference is not None:
                self._add_past(watched, reference)

    def past(self, watched: Watched) -> dict[int, Summary]:
        """The references that it had, by number, the latest first."""
        query = (
            "SELECT number, source, made_at_s, observations, daily FROM past WHERE model = ? AND version = ? "
            "ORDER BY number DESC"
        )
        rows = self._database.execute(query, watched).fetchall()
        return {
            number: Summary(source, made_at_s, count, bool(daily)) for number, source, made_at_s, count, daily in rows
        }

    def past_file(self, watched: Watched, number: int) -> str | None:
        """The file of one of them; None if there is none of this number."""
        query = "SELECT file FROM past WHERE model = ? AND version = ? AND number = ?"
        found = self._database.execute(query, (*watched, number)).fetchone()
        return None if found is None else str(found[0])

    def _add_past(self, watched: Watched, past: Past) -> None:
        self._database.execute(
            "INSERT INTO past SELECT ?, ?, 1 + coalesce(max(number), 0), ?, ?, ?, ?, ? FROM past "
            "WHERE model = ? AND version = ?",
            (*watched, *past.summary, past.file, *watched),
        )
        self._database.execute(
            "DELETE FROM past WHERE model = ? AND version = ? AND number <= "
            "(SELECT max(number) FROM past WHERE model = ? AND version = ?) - ?",
            (*watched, *watched, _MAX_PAST),
        )


def _connect(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing
        found = database.execute("PRAGMA user_version").fetchone()[0]
        if found == 0:
            database.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_FORMAT}; COMMIT;")
        elif found < _FORMAT:
            raise sqlite3.DatabaseError(f"version {found} of its format")  # noqa: TRY301
        elif found > _FORMAT:
            raise SetupInvalid([f"{file} is of version {found} of its format, and this program reads {_FORMAT}"])  # noqa: TRY301
        if (fault := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(fault)  # noqa: TRY301
    except BaseException:
        database.close()
        raise
    return database
