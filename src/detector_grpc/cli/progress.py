"""A bar on the terminal for work that takes a while."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


def progress_bar(total: int | None = None, refresh_per_s: float = 10) -> Progress:
    """A bar on standard error that disappears when it is done; none for one step, or where nobody would see it.

    Without `total`, nobody knows how many steps there will be.
    """
    return _bar(MofNCompleteColumn(), is_wanted=total != 1, refresh_per_s=refresh_per_s)


def byte_bar() -> Progress:
    """As `progress_bar`, for bytes that are brought."""
    return _bar(DownloadColumn(), TransferSpeedColumn(), is_wanted=True, refresh_per_s=10)


def _bar(*columns: ProgressColumn, is_wanted: bool, refresh_per_s: float) -> Progress:
    console = Console(stderr=True)
    return Progress(
        "{task.description}",
        BarColumn(),
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        refresh_per_second=refresh_per_s,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not (is_wanted and console.is_terminal),
    )
