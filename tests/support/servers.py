"""Starts `detector-grpc serve` as a process of its own, on ports that the system chooses."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

import detector_grpc

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Mapping, Sequence

SOURCES = Path(detector_grpc.__file__).parents[1]
BUNDLED_MODELS = SOURCES / "detector_grpc" / "bundled" / "models"

# Ports are the system's choice, nobody waits for load balancers, and nothing of the tester's environment gets in.
DEFAULTS = {
    "PYTHONPATH": str(SOURCES),
    "DETECTOR_SERVER_PORT": "0",
    "DETECTOR_SERVER_METRICS_PORT": "0",
    "DETECTOR_SERVER_ADMIN_PORT": "0",
    "DETECTOR_SERVER_DRAIN_WAIT_S": "0",
    "DETECTOR_DRIFT_PORT": "0",
    "DETECTOR_DRIFT_SAMPLE_RATE": "0",  # nobody observes but where a test says so
    "DETECTOR_DRIFT_METRICS_PORT": "0",
    "DETECTOR_CAPTURE_SINK": "off",  # nor keeps anything
}
SERVE = (sys.executable, "-m", "detector_grpc", "serve")

# For a machine that has better things to do, and stalls; nothing waits this long on purpose.
PATIENCE_S = 240.0


class ServerProcess:
    """A server process and all that it logs.

    Attributes:
        process: The process.
        lines: What it wrote to standard error so far.
        host: Where it listens.
        port: Its gRPC port.
        metrics_port: Its Prometheus port.
        admin_port: Its port for orders, on the same host; 0 if it has none.
    """

    def __init__(
        self, environment: Mapping[str, str], command: Sequence[str] = SERVE, stdout: int = subprocess.DEVNULL
    ) -> None:
        self.process = subprocess.Popen(
            command,
            env={**DEFAULTS, **environment},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def admin_address(self) -> str:
        return f"{self.host}:{self.admin_port}"

    def wait_until_listening(self) -> None:
        listening = self.wait_for_log("listening")
        self.host, self.port = listening["host"], listening["port"]
        self.metrics_port, self.admin_port = listening["metrics_port"], listening.get("admin_port", 0)

    def log(self, message: str | None = None, **fields: object) -> list[dict[str, Any]]:
        """Lines of the log so far that have this message and these fields."""
        with self._changed:
            lines = list(self.lines)
        entries = [json.loads(line) for line in lines if line.startswith("{")]
        return [entry for entry in entries if message in (None, entry["message"]) and fields.items() <= entry.items()]

    def wait_for_log(self, message: str, **fields: object) -> dict[str, Any]:
        """The first line with this message and these fields; waits until it is there."""
        deadline = time.monotonic() + PATIENCE_S
        with self._changed:
            while not (found := self.log(message, **fields)):
                left_s = deadline - time.monotonic()
                if self._ended or left_s <= 0:
                    raise AssertionError(f"the server did not log {message} {fields}, but:\n{self.text}")
                self._changed.wait(left_s)
        return found[0]

    @property
    def text(self) -> str:
        """All that it wrote to standard error so far."""
        return "\n".join(self.lines)

    def send(self, signal_number: signal.Signals) -> None:
        self.process.send_signal(signal_number)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """The exit code; everything that it logged is there then."""
        code = self.process.wait(timeout_s)
        self._reader.join(timeout_s)
        return code

    def peak_memory_bytes(self) -> int:
        """Most memory that the process ever held (resident set)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024

    def memory_bytes(self) -> int:
        """Memory that the process holds now (resident set)."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def close(self) -> None:
        """Ends it, if nobody did, without ceremony."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        self.process.stderr.close()

    def _drain(self) -> None:
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@contextmanager
def server_process(command: Sequence[str] = SERVE, **settings: object) -> Iterator[ServerProcess]:
    """A running server that listens; its versions may still be loading.

    Args:
        command: What is run.
        settings: Environment variables by name. `repository=` and `limits_max_queue=` are short for
            DETECTOR_MODELS_REPOSITORY and DETECTOR_LIMITS_MAX_QUEUE.
    """
    server = start_server(command, **settings)
    try:
        yield server
    finally:
        server.close()


def start_server(command: Sequence[str] = SERVE, **settings: object) -> ServerProcess:
    """As `server_process`, to be closed by who called."""
    server = ServerProcess(variables(settings), command)
    try:
        server.wait_until_listening()
    except BaseException:
        server.close()
        raise
    return server


def failed_start(command: Sequence[str] = SERVE, **settings: object) -> tuple[int, str]:
    """Exit code and standard error of a server that must not start."""
    server = ServerProcess(variables(settings), command)
    try:
        return server.wait(), server.text
    finally:
        server.close()


def variables(settings: Mapping[str, object]) -> dict[str, str]:
    """Settings as environment variables; see `server_process`."""
    settings = {"models_repository" if name == "repository" else name: value for name, value in settings.items()}
    return {name if name.isupper() else f"DETECTOR_{name.upper()}": str(value) for name, value in settings.items()}
