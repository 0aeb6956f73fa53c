"""A bar on the terminal for work that takes a while."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn


def progress_bar(total: int | None = None, refresh_per_s: float = 10) -> Progress:
    """A bar on standard error that disappears when it is done; none for one step, or where nobody would see it.

    Without `total`, nobody knows how many steps there will be.
    """
    console = Console(stderr=True)
    return Progress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        refresh_per_second=refresh_per_s,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=total == 1 or not console.is_terminal,
    )
