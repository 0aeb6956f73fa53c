"""Pages that show why a version is in its state, made every now and then by a process that may die or hang."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from detector_grpc.drift.evidence import DriftState
from detector_grpc.errors import ReportMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from detector_grpc.drift.observation import Watched
    from detector_grpc.drift.report_source import ReportSource
    from detector_grpc.drift.station import Station

log = logging.getLogger(__name__)

EVIDENTLY = (sys.executable, "-P", "-m", "detector_grpc.drift.evidently_report")

# It would tell its makers that it is used.
_ENVIRONMENT = {"DO_NOT_TRACK": "1"}

# It takes seconds of a processor that others may need sooner.
_NICE = 10

_LOOK_EVERY_S = 2.0
_MAX_LOGGED = 2000


@dataclass
class _Page:
    """Of one version.

    Attributes:
        tried_s: When it was last tried to make one, monotonic; 0: never.
        was_drifted: Whether the version was DRIFTED then.
        made_s: When the page that is there was made, seconds since the epoch; 0: never.
        shows_drift: Whether the version was DRIFTED then.
        blocks: How many there had been then.
        fault: Why the last try failed; empty if it did not.
    """

    tried_s: float = 0.0
    was_drifted: bool = False
    made_s: float = 0.0
    shows_drift: bool = False
    blocks: int = 0
    fault: str = ""


class Reports:
    """Belongs to one event loop.

    Args:
        station: What watches.
        folder: Where pages are; those of a process before are forgotten.
        every_s: Seconds between two pages of a version, of which one is made only where there is something new.
        timeout_s: Seconds that one may take; then the process is killed.
        command: What makes one: gets the file to read and the file to write. None: nothing here can.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        station: Station,
        folder: Path,
        every_s: float,
        timeout_s: float,
        command: Sequence[str] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._station = station
        self._folder = folder
        self._every_s = every_s
        self._timeout_s = timeout_s
        self._command = command
        self._clock = clock
        self._pages: dict[Watched, _Page] = {}

    async def run(self) -> None:
        """Makes pages, for good."""
        while self._command is not None:
            await self.make_those_due()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def make_those_due(self) -> None:
        """Makes the pages that are due, one after the other: at times, and when a version becomes DRIFTED."""
        for source in await asyncio.to_thread(self._station.report_sources):
            page, now_s = self._pages.setdefault(source.watched, _Page()), self._clock()
            is_due = not page.tried_s or now_s - page.tried_s >= self._every_s
            is_due |= source.is_drifted and not page.was_drifted
            if is_due and source.blocks != page.blocks:
                page.tried_s, page.was_drifted = now_s, source.is_drifted
                page.fault = await self._make(source)
                if not page.fault:
                    page.made_s, page.shows_drift, page.blocks = time.time(), source.is_drifted, source.blocks

    def state(self, watched: Watched) -> tuple[float, str]:
        """When the page was made, seconds since the epoch, 0 for never; and why it is missing or old, empty for not."""
        if self._command is None:
            return 0.0, "this server makes no reports: pip install 'detector-grpc[drift]'"
        page = self._pages.get(watched)
        if page is None or not page.tried_s:
            return 0.0, "there is nothing to compare yet"
        return page.made_s, page.fault

    async def page(self, watched: Watched) -> bytes:
        """The latest page, HTML.

        Raises:
            ReportMissing: There is none; it says why.
        """
        made_s, fault = self.state(watched)
        if not made_s:
            raise ReportMissing(fault or "the first report is being made")
        if not fault and not self._pages[watched].shows_drift and await asyncio.to_thread(self._is_drifted, watched):
            raise ReportMissing("the world has changed, and the report that shows it is being made; ask again")
        try:
            return await asyncio.to_thread(self._path(watched, ".html").read_bytes)
        except OSError as error:
            raise ReportMissing("the report is gone; another one will be made") from error

    async def _make(self, source: ReportSource) -> str:
        """Makes a page; returns why it could not, empty if it could."""
        assert self._command is not None  # noqa: S101 - for mypy
        read, written = self._path(source.watched, ".npz"), self._path(source.watched, ".new")
        try:
            await asyncio.to_thread(self._save, source, read)
            process = await asyncio.create_subprocess_exec(
                *self._command,
                str(read),
                str(written),
                env=_ENVIRONMENT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                with suppress(ProcessLookupError):  # it has ended already
                    os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
                async with asyncio.timeout(self._timeout_s):
                    _, said = await process.communicate()
            except TimeoutError:
                return f"the process that makes it took longer than {self._timeout_s:g} s, and was killed"
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            if process.returncode != 0:
                log.warning("a report could not be made", extra={"cause": said.decode(errors="replace")[-_MAX_LOGGED:]})
                return f"the process that makes it ended with {process.returncode}; the log has the cause"
            written.replace(self._path(source.watched, ".html"))
        except OSError as error:
            log.warning("a report could not be made", extra={"cause": str(error)})
            return "the process that makes it could not be started, or its files not be written; the log has the cause"
        finally:
            read.unlink(missing_ok=True)
        return ""

    def _is_drifted(self, watched: Watched) -> bool:
        return any(view.series.state is DriftState.DRIFTED for view in self._station.views(*watched))

    def _save(self, source: ReportSource, path: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, reference=source.reference, current=source.current, allowed=source.allowed)

    def _path(self, watched: Watched, suffix: str) -> Path:
        """A file of a version, whose name may be anything."""
        return self._folder / (hashlib.sha256("\0".join(watched).encode()).hexdigest()[:16] + suffix)


def evidently_command() -> Sequence[str] | None:
    """What makes pages, where it is installed."""
    return EVIDENTLY if find_spec("evidently") is not None else None
