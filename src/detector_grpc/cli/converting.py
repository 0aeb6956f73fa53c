"""Checkpoints made into models while a command runs, which tells how that goes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from detector_grpc.conversion.convert import Asked, Converter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rich.status import Status

    from detector_grpc.setting_sections.models import ConversionSettings


def converting(how: ConversionSettings, name: str, asked: Asked | None = None) -> Callable[[Path], Path]:
    """What makes a model file beside a checkpoint, whose file is called so elsewhere.

    Raises:
        SetupInvalid: Nothing says where the environment for it belongs.
    """
    converter = Converter(how.folder, how.environment is None, how.index, how.timeout_s, how.memory_bytes)

    def make(checkpoint: Path) -> Path:
        with _telling() as watcher:
            return converter.convert(checkpoint, name, asked or Asked(), watcher)

    return make


class _Told:
    """Tells how it goes: what begins in a line that stays, what is said meanwhile in one that changes. See Watcher."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def begins(self, what: str) -> None:
        """See Watcher."""
        self._status.console.print(what, highlight=False, markup=False, soft_wrap=True)

    def goes_on(self, line: str) -> None:
        """See Watcher."""
        self._status.update(escape(line.strip()[: self._status.console.width - 3]))


@contextmanager
def _telling() -> Iterator[_Told]:
    with Console(stderr=True).status("") as status:
        yield _Told(status)
