"""Which of the served pictures are labelled: those that a server captures, as in production, or random ones."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import grpc
import numpy as np
from curves import CAPTURED

from detector_grpc.client import Detector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

COMMAND = (sys.executable, "-m", "detector_grpc")


def captured(repository: Path, pictures: Sequence[Path], folder: Path) -> dict[int, float]:
    """Ask a server about every picture.

    Args:
        repository: Of models; it has one version of one.
        pictures: Files.
        folder: Where the server keeps samples; made here.

    Returns:
        How unsure the server was of those that it kept, from 0 to 1, by their place in `pictures`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    keep = ("--capture-state", str(folder))
    # Keep all that is uncertain, since thousands of pictures come in a minute here.
    most = ("--capture-max-per-hour", str(len(pictures)), "--capture-max-per-stream", str(len(pictures)))
    at_once = ("--capture-cooldown-s", "0", "--server-drain-wait-s", "0")
    ports = ("--server-port", port, "--server-admin-port", "0", "--server-metrics-port", "0")
    serve = ("serve", "--models-repository", str(repository), "--log-level", "warning")
    server = subprocess.Popen([*COMMAND, *serve, *ports, *keep, *most, *at_once])
    try:
        with grpc.insecure_channel(f"localhost:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
        with Detector(f"localhost:{port}") as detector:
            next(status for status in detector.watch_health() if status == "SERVING")
            for picture in pictures:
                detector.detect(picture)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
    subprocess.run([*COMMAND, "samples", "upload", *keep], check=True)
    sidecars = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("samples/*/*/*/*.json")]
    unsure = {each["sha256"]: each["uncertainty"]["score"] for each in sidecars}
    digests = [hashlib.sha256(picture.read_bytes()).hexdigest() for picture in pictures]
    return {place: unsure[digest] for place, digest in enumerate(digests) if digest in unsure}


def choose(arm: str, unsure: Mapping[int, float], served: int, count: int, seed: int) -> list[int]:
    """Return the places of the served pictures that are labelled.

    Args:
        arm: The most uncertain ones of those that were captured, or any.
        unsure: How uncertain those are that were captured, by their place.
        served: How many pictures there are.
        count: How many are labelled.
        seed: Other seeds give other random ones.
    """
    if arm != CAPTURED:
        return np.random.default_rng([seed, 1]).permutation(served)[:count].tolist()
    if len(unsure) < count:
        raise SystemExit(f"only {len(unsure)} pictures were captured, {count} are to be labelled")
    return sorted(unsure, key=lambda place: (-unsure[place], place))[:count]
