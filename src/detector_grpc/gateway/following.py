"""Shares traffic as a file says that others write, such as one of a ConfigMap, while Envoy runs."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.traffic import read_traffic

if TYPE_CHECKING:
    from pathlib import Path

    from detector_grpc.gateway.state import State

log = logging.getLogger(__name__)

# A file of a few lines. In Kubernetes it is another one behind a link when it changes, of which not every way of
# watching is told.
LOOK_EVERY_S = 1.0


class Following:
    """One gateway and the file.

    Args:
        state: The folder of the gateway.
        file: As `traffic.yaml` of that folder.
    """

    def __init__(self, state: State, file: Path) -> None:
        self._state = state
        self._file = file

    def take(self) -> None:
        """Has the traffic shared as the file says now.

        Raises:
            SetupInvalid: There is no such file, or it says nothing that can be done.
        """
        wanted = read_traffic(self._file, self._state.plan().versions)
        if wanted is None:
            raise SetupInvalid([f"there is no {self._file} (DETECTOR_GATEWAY_TRAFFIC_FILE)"])
        with self._state.changing():
            if wanted != self._state.traffic():
                self._state.change(wanted)
                log.info("traffic is shared as %s", wanted)

    async def run(self) -> None:
        """Looks at the file again and again; while it says nothing that can be done, all stays as it was."""
        told = ""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await asyncio.to_thread(self.take)
                told = ""
            except SetupInvalid as error:
                if error.message != told:
                    log.warning("traffic stays as it is", extra={"cause": error.message})
                told = error.message
