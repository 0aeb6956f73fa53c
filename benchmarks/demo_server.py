"""A server in a process of its own, for scripts that measure it from outside."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.request import urlopen

import psutil

from detector_grpc import configured
from detector_grpc.serving.repository import MODEL_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MIB = 1024 * 1024
OURS = ("-m", "detector_grpc")


class Held(NamedTuple):
    """What a server holds."""

    rss_mib: int
    fds: int
    threads: int
    streams: int
    queue: int


class DemoServer(NamedTuple):
    """A server that runs."""

    address: str
    metrics_url: str
    process: psutil.Process

    def rss_mib(self) -> int:
        """Memory that it has now."""
        resident: int = self.process.memory_info().rss
        return resident // MIB

    def held(self) -> Held:
        """All that it has now."""
        with urlopen(self.metrics_url) as response:  # noqa: S310 - our own server
            lines = dict(line.rsplit(" ", 1) for line in response.read().decode().splitlines() if line[0] != "#")
        return Held(
            self.rss_mib(),
            self.process.num_fds(),
            self.process.num_threads(),
            int(float(lines["object_detection_streams"])),
            int(float(lines["object_detection_queue_depth"])),
        )


def demo_server(*flags: str) -> AbstractContextManager[DemoServer]:
    """Serves the bundled models; see `repository_server`."""
    return _server(OURS, configured.BUNDLED / "models", ["--demo", *flags])


def repository_server(
    repository: Path, *flags: str, program: Sequence[str] = OURS
) -> AbstractContextManager[DemoServer]:
    """Serves all models of a repository, until the context ends.

    Args:
        repository: Its folder.
        flags: Settings beside those that a script needs: ports that the system chooses, and no waiting at the end.
        program: What the interpreter runs, with the command line of `detector-grpc`.
    """
    return _server(program, repository, ["--models-repository", str(repository), *flags])


@contextmanager
def _server(program: Sequence[str], repository: Path, flags: Sequence[str]) -> Iterator[DemoServer]:
    ports = ["--server-port", "0", "--server-metrics-port", "0", "--server-admin-port", "0"]
    command = [sys.executable, *program, "serve", "--server-drain-wait-s", "0", *ports, *flags]
    versions = len(list(repository.glob(f"*/*/{MODEL_FILE}")))
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+") as log:
        server = subprocess.Popen(command, stderr=log, stdout=log)
        try:
            while (text := Path(log.name).read_text()).count('"version ready"') < versions:
                if server.poll() is not None:
                    raise SystemExit(text)
                time.sleep(0.1)
            listening = next(json.loads(line) for line in text.splitlines() if '"listening"' in line)
            host = listening["host"]
            metrics_url = f"http://{host}:{listening['metrics_port']}/metrics"
            yield DemoServer(f"{host}:{listening['port']}", metrics_url, psutil.Process(server.pid))
        finally:
            server.terminate()
            server.wait(30)
