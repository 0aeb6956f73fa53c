"""Streams at a glance, while they run and when they have ended."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from rich.console import Console, RenderableType

    from detector_grpc.cli.stream.tally import Tally

REFRESH_S = 0.25
WIDEST_BAR = 110

_RUNNING = "running"
_STYLES = {_RUNNING: "green", "done": "green", "failed": "red"}  # of states; others are yellow


@asynccontextmanager
async def shown(tallies: Sequence[Tally], console: Console) -> AsyncIterator[None]:
    """Shows the tallies as long as the context lasts, and leaves nothing behind: one as a bar, several as a table."""

    async def refresh() -> None:
        while True:
            width = console.width - 3  # room for "^C", or the terminal would begin a line for it that nobody erases
            if len(tallies) == 1:
                live.update(Constrain(bar(tallies[0]), min(width, WIDEST_BAR)), refresh=True)
            else:
                live.update(Constrain(table(tallies), width), refresh=True)
            await asyncio.sleep(REFRESH_S)

    with Live(console=console, auto_refresh=False, transient=True) as live:
        refreshing = asyncio.create_task(refresh())
        try:
            yield
        finally:
            refreshing.cancel()
            await asyncio.gather(refreshing, return_exceptions=True)


def bar(tally: Tally) -> Table:
    """One stream in a line, of which the bar takes what is left."""
    line = Table.grid(padding=(0, 2, 0, 0), expand=tally.total is not None)
    line.add_column(no_wrap=True, overflow="ellipsis")
    cells: list[RenderableType] = [Text(tally.name)]
    if tally.total is not None:
        line.add_column(ratio=1)
        cells.append(ProgressBar(tally.total, tally.frames))
    figures = [_frames(tally), f"{tally.fps:.1f} fps", f"age {_age(tally)}", f"{tally.dropped} dropped"]
    cells += [Text(figure, no_wrap=True) for figure in figures]
    if tally.errors:
        cells.append(Text(f"{tally.errors} errors", "red", no_wrap=True))
    line.add_row(*cells, _state(tally))
    return line


def table(tallies: Sequence[Tally]) -> Table:
    """Streams in a table."""
    names = ("frames", "fps", "age", "dropped", "errors")
    columns = Table(Column("source", overflow="fold"), *(Column(name, justify="right") for name in names), "state")
    for tally in tallies:
        columns.add_row(
            Text(tally.name),
            _frames(tally),
            f"{tally.fps:.1f}",
            _age(tally),
            str(tally.dropped),
            Text(str(tally.errors), "red" if tally.errors else ""),
            _state(tally),
        )
    return columns


def _frames(tally: Tally) -> str:
    return str(tally.frames) if tally.total is None else f"{tally.frames}/{tally.total}"


def _age(tally: Tally) -> str:
    return "-" if tally.age_ms is None else f"{tally.age_ms:.0f} ms"


def _state(tally: Tally) -> Text:
    silence = f"no answer for {tally.silence_s:.0f} s" if tally.silence_s else ""
    state = tally.state or silence or _RUNNING
    return Text(state, _STYLES.get(state, "yellow"), no_wrap=True)
