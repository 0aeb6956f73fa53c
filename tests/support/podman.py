"""Runs images with podman, which needs neither a daemon nor a registry."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detector_grpc import __version__
from support.servers import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = Path(__file__).resolve().parents[2]
IMAGES = PROJECT / "tests" / "images"
BASE = "docker.io/library/python:3.12-slim-bookworm"

STANDALONE, SERVER, DRIFT = (f"localhost/detector-grpc:{__version__}{suffix}" for suffix in ("", "-server", "-drift"))

TOOLS = ("podman", "buildah", "debootstrap", "strip")


def wait_until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """As that of `support.calls`, but seldom, since each look is at least a process of podman."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience_s} s: {what}"
        time.sleep(0.5)


def free_port() -> int:
    """A port of loopback on which nobody listens, for what cannot choose one by itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Podman:
    """podman, with images and containers that are not the user's own: below build/containers, where they stay.

    Attributes:
        environment: Of every command.
    """

    def __init__(self) -> None:
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        if missing:
            pytest.skip(f"there is no {', '.join(missing)} here; docs/containers.md says how to get them")
        folder = PROJECT / "build" / "containers"
        folder.mkdir(parents=True, exist_ok=True)
        storage = folder / "storage.conf"
        storage.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n')
        own = {
            "BUILDAH_ISOLATION": "chroot",
            "CONTAINERS_CONF": str(IMAGES / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(storage),
        }
        self.environment = own | os.environ  # noqa: TID251 - whoever has a storage of his own says so there

    def __call__(self, *arguments: str, check: bool = True) -> str:
        """What a command prints, on both streams: podman keeps apart what containers log."""
        command = ["podman", *arguments]
        done = subprocess.run(
            command, env=self.environment, cwd=PROJECT, check=False, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if not check else subprocess.PIPE,
        )  # fmt: skip
        assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def build(self) -> None:
        """All images but that for GPUs, on the official base image or, where none can be had, on a stand-in."""
        if not self.has(BASE) and "Error" in self("pull", "--quiet", BASE, check=False):
            subprocess.run([IMAGES / "python.sh"], env=self.environment, check=True)
        build = [sys.executable, "docker/build.py", "--engine=podman", "--repository=localhost/detector-grpc"]
        subprocess.run([*build, "--", "--network=host"], env=self.environment, cwd=PROJECT, check=True)

    def has(self, image: str) -> bool:
        return bool(self("images", "--quiet", image))

    @contextmanager
    def running(self, image: str, *options: str) -> Iterator[Container]:
        """Runs an image until it is left."""
        name = self("run", "--detach", *options, image).strip().splitlines()[-1]
        try:
            yield Container(name, self)
        finally:
            self("rm", "--force", "--volumes", name)


class Container:
    """A container that runs."""

    def __init__(self, name: str, podman: Podman) -> None:
        self.name = name
        self._podman = podman

    def run(self, *command: str, check: bool = True) -> str:
        """What a command in it prints."""
        return self._podman("exec", self.name, *command, check=check)

    def wait_for(self, status: str, *options: str) -> None:
        """Waits until it says so of its health, by the command of its image's own health check."""
        said = ("detector-grpc", "health", *options)
        wait_until(
            lambda: self.run(*said, check=False).split()[-1:] == [status], f"{self.name} {status}: {self.logs()}"
        )

    def logs(self) -> str:
        return self._podman("logs", self.name, check=False)

    def inspect(self, path: str) -> str:
        return self._podman("inspect", "--format", f"{{{{{path}}}}}", self.name).strip()

    def published(self, port: int) -> str:
        """Address at which a port is reached from here."""
        return re.sub(r"^0\.0\.0\.0", "127.0.0.1", self._podman("port", self.name, str(port)).strip())
