"""Looks at a model repository again and again, and has what is new or has changed loaded, and what is gone unloaded.

Nothing is acted on before two looks in a row have seen it alike, so that a file that is being copied is left alone
while it grows. And everything is acted on once: what failed is tried again only when its files are others, and what an
operator has loaded or unloaded meanwhile stays so.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from detector_grpc.errors import (
    ModelInvalid,
    ModelNotFound,
    SetupInvalid,
    VersionFailed,
    VersionNotFound,
    VersionNotHeld,
)
from detector_grpc.serving.repository import scan

if TYPE_CHECKING:
    from pathlib import Path

    from detector_grpc.serving.loader import Loader
    from detector_grpc.serving.repository import Stamp

log = logging.getLogger(__name__)

Seen = dict[tuple[str, str], "Stamp"]


class Poller:
    """Keeps a loader in step with a repository. Belongs to the same event loop.

    Args:
        repository: The folder; what lies there when this is made is taken as known. Blocking.
        interval_s: Seconds between two looks.
        loader: Does what is to be done.

    Raises:
        SetupInvalid: The repository cannot be read.
    """

    def __init__(self, repository: Path, interval_s: float, loader: Loader) -> None:
        self._repository = repository
        self._interval_s = interval_s
        self._loader = loader
        self._seen = _look(repository)
        self._acted_on = dict(self._seen)
        self._trouble = ""

    async def run(self) -> None:
        """Looks for ever.

        Raises:
            ShuttingDown: The loader was closed.
        """
        while True:
            await asyncio.sleep(self._interval_s)
            await self.look()

    async def look(self) -> None:
        """Looks once, and acts on what is as it was the last time."""
        try:
            seen = await asyncio.to_thread(_look, self._repository)
        except SetupInvalid as error:
            self._say(f"the model repository is left alone: {error.message}")
            return
        if not seen and self._acted_on:
            self._say(f"the model repository {self._repository} is empty, which is taken for not mounted")
            return
        self._say("")
        before, self._seen = self._seen, seen
        for names in sorted(seen.keys() | self._acted_on.keys()):
            stamp = seen.get(names)
            if stamp == before.get(names) and stamp != self._acted_on.get(names):
                await self._act(*names)
                self._acted_on.pop(names, None)
                if stamp is not None:
                    self._acted_on[names] = stamp

    async def _act(self, model: str, version: str) -> None:
        try:
            await self._loader.load(model, version)
        except VersionFailed:  # the loader has logged it
            return
        except VersionNotFound:  # it is gone
            try:
                await self._loader.unload(model, version)
            except (VersionNotHeld, ModelNotFound):
                return

    def _say(self, trouble: str) -> None:
        """Logs what keeps this from its work, when it is not what it was the last time."""
        if trouble not in ("", self._trouble):
            log.error(trouble)
        self._trouble = trouble


def _look(repository: Path) -> Seen:
    try:
        return {(source.model, source.version): source.stamp() for source in scan(repository)}
    except ModelInvalid as error:
        raise SetupInvalid([error.message]) from error
