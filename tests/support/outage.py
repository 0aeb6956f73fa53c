"""Samples are captured while their sink is away and their server is killed; are they all there in the end, and once?"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from detector_grpc.capture.capturer import MAX_WAITING
from detector_grpc.capture.sample import Sidecar, digest
from detector_grpc.capture.sinks.sink import README_KEY
from detector_grpc.capture.spool import samples_in
from support.calls import SERVING, connected, encoded_request, wait_until
from support.metrics import read_metrics
from support.onnx_files import Box, tiny_onnx
from support.s3 import BUCKET, CREDENTIALS, Door, Manner, running_store
from support.samples import scene_file
from support.servers import server_process

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from support.s3 import Store
    from support.servers import ServerProcess

OUTAGE: tuple[Manner, ...] = ("refusing", "hanging", "busy")

# Every picture is uncertain, and there is room for all.
EVERYTHING = {
    "UNCERTAINTY_THRESHOLD": 1,
    "capture_max_per_hour": 100_000,
    "capture_max_per_stream": 100_000,
    "capture_cooldown_s": 0,
}


def unsure_repository(folder: Path) -> Path:
    """A model repository of one model, `tiny`, that is unsure of every picture."""
    tiny_onnx(
        folder / "tiny" / "v1" / "model.onnx", boxes=[Box((16, 8, 48, 40), class_id=0, confidence=0.5)], classes=2
    )
    return folder


def s3_settings(folder: Path, url: str) -> dict[str, Any]:
    """Settings of a server whose samples go to a store."""
    return {
        "repository": folder / "models",
        "capture_sink": "s3",
        "capture_state": folder / "capture",
        "capture_s3_endpoint": url,
        "S3_BUCKET_NAME": BUCKET,
        **CREDENTIALS,
        **EVERYTHING,
    }


@dataclass
class Outage:
    """What there was, and what has become of it.

    Attributes:
        sent: Pictures that were captured, by their digest.
        objects: What is in the store in the end, by key.
        waiting: How many samples waited when the server was killed.
        answered_s: Seconds that each call took.
    """

    sent: dict[str, bytes] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    waiting: int = 0
    answered_s: list[float] = field(default_factory=list)

    def pictures(self) -> list[bytes]:
        """Those that arrived, one for each sidecar."""
        return [self.objects[Sidecar.from_json(data).keys.picture] for data in self._sidecars()]

    def _sidecars(self) -> Iterator[bytes]:
        return (data for key, data in self.objects.items() if key.endswith(".json"))


def live_through_an_outage(folder: Path, count: int, each_s: float, patience_s: float) -> Outage:
    """Captures so many samples while the sink refuses, hangs and has too much to do, for so many seconds each.

    The server is killed (SIGKILL) while the sink hangs, and started again.
    """
    outage, pictures = Outage(), [scene_file(seed) for seed in range(count)]
    unsure_repository(folder / "models")
    with ExitStack() as stack:
        store = stack.enter_context(running_store(folder / "store"))
        door = Door(store.port)
        stack.callback(door.close)
        settings = s3_settings(folder, door.url)
        third = count // 3
        refusing, hanging, busy = OUTAGE
        door.become(refusing)
        with server_process(**settings) as server:
            _capture(server, pictures[:third], outage, each_s)
            door.become(hanging)
            _capture(server, pictures[third : 2 * third], outage, each_s)
            outage.waiting = len(list(samples_in(folder / "capture")))
            server.process.kill()
            server.process.wait()
        with server_process(**settings) as server:
            door.become(busy)
            _capture(server, pictures[2 * third :], outage, each_s)
            door.become("open")
            wait_until(lambda: _arrived(store) >= count, f"{count} samples in the store", patience_s)
            outage.objects = store.objects()
    return outage


def _arrived(store: Store) -> int:
    return sum(1 for key in store.objects() if key.endswith(".json"))


def _capture(server: ServerProcess, pictures: Sequence[bytes], outage: Outage, least_s: float) -> None:
    """Sends pictures, in at least so many seconds, never more at once than wait to be decided on."""
    began = time.monotonic()
    with connected(server.address) as client:
        client.wait_for_status(SERVING)
        before = _captured(server)
        for number, picture in enumerate(pictures, start=1):
            sent = time.perf_counter()
            client.detect(encoded_request(picture))
            outage.answered_s.append(time.perf_counter() - sent)
            outage.sent[digest(picture)] = picture
            if number % (MAX_WAITING // 2) == 0 or number == len(pictures):
                wait_until(lambda count=before + number: _captured(server) == count, f"{number} captured")  # type: ignore[misc]
                time.sleep(max(0.0, began + least_s * number / len(pictures) - time.monotonic()))


def _captured(server: ServerProcess) -> float:
    """Of this process."""
    return read_metrics(server).total("active_learning_samples_total")


def check(outage: Outage) -> None:
    """All that was captured is in the store, once, as it was sent, and nothing else is."""
    pictures = outage.pictures()
    assert len(pictures) == len(outage.sent)
    assert {digest(picture): picture for picture in pictures} == outage.sent
    assert len(outage.objects) == 2 * len(outage.sent) + (README_KEY in outage.objects)
