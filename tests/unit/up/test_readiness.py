from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from support.virtual_time import VirtualTime, in_virtual_time

from detector_grpc.up import readiness

if TYPE_CHECKING:
    import pytest


def test_waiting_for_long_is_said_once_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(time: VirtualTime) -> None:
        ready_at = readiness.PATIENCE_S / 2

        async def is_serving(address: str) -> bool:
            assert address == "localhost:1"
            return time.now >= ready_at

        monkeypatch.setattr(readiness, "_is_serving", is_serving)
        await readiness.until_servers_ready(["localhost:1"])
        await asyncio.sleep(readiness.PATIENCE_S)
        assert caplog.records == []

        ready_at = time.now + 3600
        await readiness.until_servers_ready(["localhost:1"])
        assert time.now >= ready_at

    in_virtual_time(main)
    (said,) = caplog.records
    assert said.levelname == "WARNING"
    assert said.message.startswith("still waiting for the servers")
