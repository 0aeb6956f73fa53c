"""Starts a real Envoy in front of real servers, on ports that the system chooses."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from detector_grpc.configured import gateway_plan
from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.admin import Admin
from detector_grpc.gateway.envoy import envoy_binary
from detector_grpc.gateway.routes import routed
from detector_grpc.gateway.state import State
from detector_grpc.gateway.traffic import Traffic
from detector_grpc.settings import defaults
from support.calls import SERVING, connected, wait_until
from support.gateway_http import gateway_http
from support.onnx_files import Box, tiny_onnx
from support.servers import PATIENCE_S, ServerProcess, start_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from detector_grpc.gateway.plan import Plan

MODEL = "tiny"
VERSIONS = ("v1", "v2")

# Where nobody listens.
NOWHERE = "127.0.0.1:9"


def tiny_repository(folder: Path, versions: Sequence[str] = VERSIONS, **options: Any) -> Path:
    """A model repository of one model, whose versions find one box each, of the class with the number of the version.

    Args:
        folder: Where to.
        versions: Names of the versions.
        options: For `tiny_onnx`.
    """
    for number, version in enumerate(versions, start=1):
        box = Box((16, 8, 48, 40), class_id=number, confidence=0.9)
        tiny_onnx(folder / MODEL / version / "model.onnx", boxes=[box], classes=len(versions) + 1, **options)
    return folder


class EnvoyProcess:
    """An Envoy and all that it logs.

    Attributes:
        process: The process.
        lines: What it wrote so far, its log and the log of requests.
    """

    def __init__(self, state: State) -> None:
        # Else its log of requests comes every ten seconds.
        command = [
            str(envoy_binary()),
            *state.envoy_arguments(),
            "--concurrency",
            "1",
            "--file-flush-interval-msec",
            "50",
        ]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()

    def log(self, **fields: object) -> list[dict[str, Any]]:
        """Lines of the logs so far that have these fields."""
        entries = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return [entry for entry in entries if fields.items() <= entry.items()]

    def wait_for_log(self, **fields: object) -> dict[str, Any]:
        """The first line with these fields; waits until it is there."""
        wait_until(lambda: bool(self.log(**fields)), f"a line of Envoy's log with {fields}")
        return self.log(**fields)[0]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE_S)
        self.process.stdout.close()

    def _drain(self) -> None:
        self.lines.extend(line.rstrip("\n") for line in self.process.stdout)


@dataclass
class Gateway:
    """A running gateway.

    Attributes:
        address: `host:port` of clients.
        admin: Envoy's own interface.
        state: Its folder.
        servers: The server processes behind it.
        envoy: Envoy.
        settings: Of every server process.
    """

    address: str
    admin: Admin
    state: State
    servers: list[ServerProcess]
    envoy: EnvoyProcess
    settings: dict[str, object]

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def wait_until_healthy(self, servers: int, *versions: str) -> None:
        """Waits until Envoy finds so many servers healthy by these versions; without any, by all, and as a whole."""
        plan = self.state.plan()
        clusters = list(map(plan.cluster, versions or plan.versions)) + ([] if versions else ["servers"])
        wanted = {f"cluster.{name}.membership_healthy": servers for name in clusters}
        wait_until(lambda: wanted.items() <= self.admin.stats("membership_healthy").items(), f"healthy: {wanted}")

    def start_again(self, index: int) -> None:
        """Starts another process in place of one that has ended, at the same port; it can answer when this returns."""
        port = self.servers[index].port
        self.servers[index].close()
        self.servers[index] = start_server(**self.settings | {"server_port": port})
        with connected(self.servers[index].address) as client:
            client.wait_for_status(SERVING)
        self.wait_until_healthy(len(self.servers))

    def share(self, shadow: Mapping[str, float] = MappingProxyType({}), **weights: int) -> None:
        """Shares the traffic in another way; Envoy does so when this returns."""
        traffic = Traffic({version: weight for version, weight in weights.items() if weight}, shadow)
        self.state.change(traffic)
        wait_until(lambda: routed(self.admin.route_table()) == traffic, f"{traffic}")


def plan_for(servers: Sequence[str], **changes: Any) -> Plan:
    """The plan of a gateway in front of these servers, whose own ports are the system's choice."""
    own = {"model": MODEL, "versions": VERSIONS, "servers": tuple(servers), "http": NOWHERE}
    ports = {"port": 0, "admin_port": 0, "metrics_port": 0, "plain_port": 0}
    return gateway_plan(defaults()).model_copy(update=own | ports | changes)


@contextmanager
def running_gateway(
    folder: Path,
    servers: int = 1,
    plan: Mapping[str, Any] = MappingProxyType({}),
    *,
    others: Sequence[str] = (),
    http: bool = False,
    healthy: bool = True,
    **settings: object,
) -> Iterator[Gateway]:
    """A gateway in front of servers with the versions v1 and v2 of a tiny model, all of them healthy.

    Args:
        folder: For the models and its state.
        servers: Number of server processes.
        plan: Fields of the gateway's plan.
        others: `host:port` of servers that run already.
        http: Whether its HTTP process runs, too.
        healthy: Whether Envoy is to find all servers healthy.
        settings: Of the servers, as `server_process` has them; `repository` for other models.
    """
    if "repository" not in settings:
        settings["repository"] = tiny_repository(folder / "models")
    with ExitStack() as stack:
        processes = [start_server(**settings) for _ in range(servers)]
        stack.callback(lambda: [process.close() for process in processes])
        state = State(folder / "state")
        if http:
            pages = stack.enter_context(gateway_http(processes, gateway_state=folder / "state"))
            plan = {"http": f"127.0.0.1:{pages.port}", **plan}
        state.prepare(plan_for([*others, *(server.address for server in processes)], **plan))
        envoy = EnvoyProcess(state)
        stack.callback(envoy.close)
        admin = _admin(state, envoy)
        gateway = Gateway(admin.listener(), admin, state, processes, envoy, settings)
        if healthy:
            gateway.wait_until_healthy(len(others) + servers)
        yield gateway


def _admin(state: State, envoy: EnvoyProcess) -> Admin:
    """Envoy's own interface, once it takes calls."""
    deadline = time.monotonic() + PATIENCE_S
    while envoy.process.poll() is None and time.monotonic() < deadline:
        try:
            admin = Admin(state.admin_address())
            if admin.is_ready():
                return admin
        except SetupInvalid:
            pass
        time.sleep(0.01)
    raise AssertionError("Envoy does not take calls:\n" + "\n".join(envoy.lines))
