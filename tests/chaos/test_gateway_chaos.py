"""Nobody loses a call when weights change, servers die and servers stop. `make chaos` does it with many more calls."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from support.gateways import running_gateway
from support.load import Load

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(600)

DRAIN_WAIT_S = 3


def test_weights_change_under_load(tmp_path: Path, full: bool) -> None:  # noqa: FBT001
    changes = [(0, 100), (100, 0), (50, 50), (80, 20), (1, 99), (20, 80)]
    with running_gateway(tmp_path, servers=2) as gateway, Load(gateway, 5000 if full else 1000) as load:
        for number, (v1, v2) in enumerate(changes, start=1):
            load.wait_for(load.goal * number // (len(changes) + 1))
            gateway.share(v1=v1, v2=v2)

    print(f"{len(changes)} changes of weights: {load}")
    assert not load.failed
    assert {version for _, version in load.answered} == {"v1", "v2"}


def test_servers_die_under_load(tmp_path: Path, full: bool) -> None:  # noqa: FBT001
    deaths = 20 if full else 2
    with running_gateway(tmp_path, servers=2) as gateway, Load(gateway, 20_000 if full else 1000) as load:
        gateway.share(v1=50, v2=50)
        for number in range(deaths):
            load.wait_for(load.goal * (number + 1) // (deaths + 1))
            gateway.servers[number % 2].send(signal.SIGKILL)
            gateway.start_again(number % 2)

    print(f"kill -9 of one of two servers, {deaths} times: {load}")
    assert not load.failed


def test_servers_stop_one_after_the_other_under_load(tmp_path: Path, full: bool) -> None:  # noqa: FBT001
    rounds = 3 if full else 1
    wait = {"server_drain_wait_s": DRAIN_WAIT_S}
    with running_gateway(tmp_path, servers=2, **wait) as gateway, Load(gateway, 10_000 if full else 1000) as load:
        gateway.share(v1=50, v2=50)
        for number in range(rounds * 2):
            load.wait_for(load.goal * (number + 1) // (rounds * 2 + 1))
            gateway.servers[number % 2].send(signal.SIGTERM)
            assert gateway.servers[number % 2].wait() == 0
            gateway.start_again(number % 2)

    print(f"SIGTERM of all of two servers, {rounds} times: {load}")
    assert not load.failed
