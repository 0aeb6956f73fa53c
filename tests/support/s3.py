"""A store that speaks the language of S3 and checks signatures, and a door before it that may be shut."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from detector_grpc.capture.sinks.s3 import S3Place, S3Sink

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

KEY_ID, SECRET = "KEYID12345", "a-secret-of-the-tests"
BUCKET = "samples"

# What the clients of S3 may look at beside what they are told: nothing.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": KEY_ID,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "NO_PROXY": "127.0.0.1",
}

Manner = Literal["open", "refusing", "hanging", "busy"]

_TOO_MUCH = b"<Error><Code>SlowDown</Code><Message>Please reduce your rate.</Message></Error>"
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: "
    b"%d\r\n\r\n%b" % (len(_TOO_MUCH), _TOO_MUCH)
)


class Store:
    """`rclone serve s3` on a folder.

    Attributes:
        folder: Where objects are files, below the name of their bucket.
        port: On loopback.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / BUCKET).mkdir(parents=True)
        self._process = subprocess.Popen(
            [
                Path(sys.executable).with_name("rclone"), "serve", "s3", "--addr", "127.0.0.1:0",
                "--auth-key", f"{KEY_ID},{SECRET}", "--config", os.devnull, "--vfs-cache-mode", "off", folder,
            ],
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        for line in self._process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                break
        else:
            raise AssertionError("the store did not start")
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def objects(self) -> dict[str, bytes]:
        """All that is in the bucket, by key."""
        bucket, objects = self.folder / BUCKET, {}
        for path in bucket.rglob("*"):
            with suppress(FileNotFoundError, IsADirectoryError):  # what is on its way has another name at first
                objects[path.relative_to(bucket).as_posix()] = path.read_bytes()
        return objects

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stderr.close()

    def _drain(self) -> None:
        for _ in self._process.stderr:
            pass


@contextmanager
def running_store(folder: Path) -> Iterator[Store]:
    store = Store(folder)
    try:
        yield store
    finally:
        store.close()


class Door:
    """Passes connections on, refuses them, leaves them without an answer, or answers that there is too much to do.

    Args:
        port: What is behind it, on loopback.

    Attributes:
        port: Its own.
    """

    def __init__(self, port: int) -> None:
        self._behind = port
        self._manner: Manner = "open"
        self._connections: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._listen()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def become(self, manner: Manner) -> None:
        """Changes; connections that are open are cut."""
        self._manner = manner
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        if manner != "refusing":
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._listen()

    def close(self) -> None:
        self.become("refusing")

    def _listen(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self._connections.add(connection)
        try:
            with connection, suppress(OSError):
                if self._manner == "busy":
                    connection.recv(65536)
                    connection.sendall(_BUSY)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                elif self._manner == "hanging":
                    while connection.recv(65536):
                        pass
                else:
                    self._pass_on(connection)
        finally:
            self._connections.discard(connection)

    def _pass_on(self, connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._behind)) as behind:
            back = threading.Thread(target=_pump, args=(behind, connection), daemon=True)
            back.start()
            _pump(connection, behind)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def use_credentials(monkeypatch: pytest.MonkeyPatch, **others: str) -> None:
    """Has clients of S3 in this process find these, and nothing else."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (CREDENTIALS | others).items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)


def sink_at(url: str, bucket: str = BUCKET, **place: str) -> S3Sink:
    return S3Sink(S3Place(bucket, endpoint=url, **place))
