"""A server in a process of its own, for scripts that measure it from outside."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.request import urlopen

import grpc
import psutil
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

MIB = 1024 * 1024
OURS = ("-m", "detector_grpc")
START_S = 60.0


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

    def cpu_s(self) -> float:
        """Processor time that it has used."""
        return cpu_clock_s(self.process.pid)

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


def cpu_clock_s(pid: int) -> float:
    """Processor time of a process, all its threads; to the nanosecond, where /proc counts in ticks of 10 ms."""
    return time.clock_gettime((~pid << 3) | 2)  # as clock_getcpuclockid(3) makes it


def demo_server(*flags: str, python: str = sys.executable) -> AbstractContextManager[DemoServer]:
    """Serves the bundled models; see `repository_server`.

    Args:
        flags: As there.
        python: The interpreter whose detector_grpc serves.
    """
    return _server([python, *OURS], ["--demo", *flags])


def repository_server(
    repository: Path, *flags: str, program: Sequence[str] = OURS
) -> AbstractContextManager[DemoServer]:
    """Serves all models of a repository, until the context ends.

    Args:
        repository: Its folder.
        flags: Settings beside those that a script needs: ports that the system chooses, and no waiting at the end.
        program: What the interpreter runs, with the command line of `detector-grpc`.
    """
    return _server([sys.executable, *program], ["--models-repository", str(repository), *flags])


@contextmanager
def _server(program: Sequence[str], flags: Sequence[str]) -> Iterator[DemoServer]:
    ports = ["--server-port", "0", "--server-metrics-port", "0", "--server-admin-port", "0"]
    command = [*program, "serve", "--server-drain-wait-s", "0", *ports, *flags]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+") as log:
        server = subprocess.Popen(command, stderr=log, stdout=log)
        try:
            while '"listening"' not in (text := Path(log.name).read_text()) or not text.endswith("\n"):
                if server.poll() is not None:
                    raise SystemExit(text)
                time.sleep(0.01)
            listening = next(json.loads(line) for line in text.splitlines() if '"listening"' in line)
            host = listening["host"]
            address, metrics_url = f"{host}:{listening['port']}", f"http://{host}:{listening['metrics_port']}/metrics"
            with grpc.insecure_channel(address) as channel:
                for health in HealthStub(channel).Watch(HealthCheckRequest(), timeout=START_S):
                    if health.status == HealthCheckResponse.SERVING:
                        break
            yield DemoServer(address, metrics_url, psutil.Process(server.pid))
        finally:
            server.terminate()
            server.wait(30)
