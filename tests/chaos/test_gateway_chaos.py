"""Nobody loses a call when weights change, servers die and servers stop. `make chaos` does it with many more calls."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

from support.calls import wait_until
from support.gateways import running_gateway
from support.load import PICTURE, Load

from detector_grpc.client import Detector

if TYPE_CHECKING:
    from pathlib import Path

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
            gateway.wait_until_healthy(2)  # one of two dies, never both

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
            gateway.wait_until_healthy(2)

    print(f"SIGTERM of all of two servers, {rounds} times: {load}")
    assert not load.failed


def test_streams_keep_their_version_while_servers_stop_and_weights_change(tmp_path: Path, full: bool) -> None:  # noqa: FBT001
    rounds, cameras = 3 if full else 1, 10
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    settings = {"server_drain_wait_s": DRAIN_WAIT_S, "streams_resume_key_file": key}
    with running_gateway(tmp_path, servers=2, **settings) as gateway:
        gateway.share(v1=50, v2=50)
        stopping = threading.Event()
        seen: list[list[tuple[int, int]]] = [[] for _ in range(cameras)]

        def follow(camera: int) -> None:
            """Sends frames one after the other, and notes of each answer its frame and the version's class."""
            frames = (PICTURE for _ in iter(lambda: stopping.wait(0.02), True))  # noqa: FBT003 - until it is told
            with Detector(gateway.address) as detector, detector.stream(frames, mode="lossless") as answers:
                for answer in answers:
                    assert answer.result is not None, answer
                    seen[camera].append((answer.frame_id, int(answer.result.class_id[0])))

        threads = [threading.Thread(target=follow, args=(camera,)) for camera in range(cameras)]
        for thread in threads:
            thread.start()
        try:
            for number in range(rounds * 2):
                wait_until(lambda: all(seen), "answers of all streams")
                gateway.share(v1=number % 2, v2=1 - number % 2)
                gateway.servers[number % 2].send(signal.SIGTERM)
                assert gateway.servers[number % 2].wait() == 0
                gateway.start_again(number % 2)
        finally:
            stopping.set()
            for thread in threads:
                thread.join()

    print(
        f"SIGTERM of all of two servers, {rounds} times: {sum(map(len, seen))} frames of {cameras} streams, none lost"
    )
    for answers in seen:
        ids = [frame_id for frame_id, _ in answers]
        assert ids == list(range(1, len(ids) + 1))
        assert len({version for _, version in answers}) == 1
    assert {answers[0][1] for answers in seen} == {1, 2}
