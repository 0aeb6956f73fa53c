"""Starts `detector-grpc up` as a process of its own, on ports that it chooses."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from detector_grpc.gateway.admin import Admin
from detector_grpc.gateway.routes import SERVERS_CLUSTER
from detector_grpc.gateway.state import State
from support.servers import ServerProcess, variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PROGRAM = (sys.executable, "-m", "detector_grpc")
FREE_PORTS = {f"DETECTOR_GATEWAY_{name}PORT": "0" for name in ("", "ADMIN_", "HTTP_", "METRICS_")}


class UpProcess(ServerProcess):
    """An `up` and all that it and its children log.

    Attributes:
        state: The folder of its gateway.
        gateway: `host:port` of Envoy; None where there is none.
        servers: `host:port` of every server.
    """

    def __init__(
        self, environment: Mapping[str, str], flags: Sequence[str] = (), program: Sequence[str] = PROGRAM
    ) -> None:
        self.state = State(Path(environment["DETECTOR_GATEWAY_STATE"]))
        super().__init__({**FREE_PORTS, **environment}, [*program, "up", *flags], stdout=subprocess.PIPE)

    def wait_until_ready(self) -> None:
        ready = self.wait_for_log("ready")
        self.gateway, self.servers = ready["gateway"], ready["servers"]

    def log(self, message: str | None = None, **fields: object) -> list[dict[str, Any]]:
        """As that of a server; `by` is who said it."""
        entries = []
        for line in list(self.lines):
            name, _, text = line.partition(" | ")
            if text.startswith("{"):
                entries.append({"by": name.rstrip(), **json.loads(text)})
        return [entry for entry in entries if message in (None, entry["message"]) and fields.items() <= entry.items()]

    def pids(self, child: str) -> list[int]:
        """Those that a child has had so far, the last of which it may have now."""
        return [entry["pid"] for entry in self.log("started", child=child)]

    def healthy_servers(self) -> set[int]:
        """How many servers Envoy takes for healthy, by any of their names."""
        plan, stats = self.state.plan(), Admin(self.state.admin_address()).stats("membership_healthy")
        names = [SERVERS_CLUSTER, *map(plan.cluster, plan.versions)]
        return {stats[f"cluster.{name}.membership_healthy"] for name in names}

    def calls_under_way(self) -> int:
        """How many calls servers have through Envoy."""
        active = Admin(self.state.admin_address()).stats(r"upstream_rq_active$")
        return sum(count for name, count in active.items() if not name.startswith("cluster.http."))

    def children(self) -> list[psutil.Process]:
        """Those that run now."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def shown(self) -> str:
        """What it showed on standard output until it said that Ctrl-C stops it."""
        lines = []
        while "Ctrl-C" not in "".join(lines[-1:]):
            lines.append(self.process.stdout.readline())
            assert lines[-1], self.text
        return "".join(lines)

    def close(self) -> None:
        super().close()
        self.process.stdout.close()


def start_up(folder: Path, *flags: str, program: Sequence[str] = PROGRAM, **settings: object) -> UpProcess:
    """An `up` that has just begun; to be closed.

    Args:
        folder: For the state of its gateway.
        flags: Of the command.
        program: What is run.
        settings: As for `server_process`.
    """
    return UpProcess(variables({"gateway_state": folder / "state", **settings}), flags, program)


@contextmanager
def up_process(folder: Path, *flags: str, program: Sequence[str] = PROGRAM, **settings: object) -> Iterator[UpProcess]:
    """A running `up`, once all of it is ready; see `start_up`."""
    up = start_up(folder, *flags, program=program, **settings)
    try:
        up.wait_until_ready()
        yield up
    finally:
        up.close()


def failed_up(folder: Path, **settings: object) -> tuple[int, UpProcess]:
    """Exit code of an `up` that must not start, and what it said; see `start_up`."""
    up = start_up(folder, **settings)
    try:
        return up.wait(), up
    finally:
        up.close()
