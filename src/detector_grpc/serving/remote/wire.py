"""What servers and the engine process say to each other, over a Unix socket that keeps messages apart.

A connection opens with one message each: the server's `Opening`, with the file of the model; the engine's `RowShapes`,
or what is wrong; the server's file of the memory in which its row lies. From then on a message of one byte runs the row
once, and the byte that comes back says how that went. The model is held for as long as there are connections that have
opened with it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from mmap import mmap
from typing import TYPE_CHECKING, Any, NamedTuple

from detector_grpc.errors import DetectorError
from detector_grpc.serving.rows import ArrayShape, RowShapes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RUN, DONE, FAILED = b"r", b"d", b"f"

_BACKLOG = 1024  # every thread of every server may come at the same time

_MAX_MESSAGE_BYTES = 64 * 1024  # names and shapes of a few arrays


class NotUnderstood(Exception):
    """The other side has left, or says something that is not said here."""


class Refused(DetectorError):
    """The engine cannot run the model; the message is for the operator."""

    reason = "MODEL_INVALID"


class Opening(NamedTuple):
    """What a server wants to run.

    Attributes:
        digest: SHA-256 of the model, hexadecimal.
        path: Where it comes from, absolute; weights that are not in it lie beside that.
        feeds: Names and shapes of what a picture brings.
        outputs: Names of the outputs that it wants.
    """

    digest: str
    path: str
    feeds: tuple[tuple[str, ArrayShape], ...]
    outputs: tuple[str, ...]


def connect(path: str) -> socket.socket:
    """A connection to the engine that listens there.

    Raises:
        OSError: Nobody does.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def why_nobody_listens(path: Path) -> str:
    """What is found in the place of an engine; empty where one listens. Waits for nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as looking:
        looking.setblocking(False)  # noqa: FBT003 - socket's own
        try:
            looking.connect(str(path))
        except BlockingIOError:  # as many servers as may wait for it do
            return ""
        except OSError as error:
            return error.strerror or str(error)
    return ""


def listen(path: Path) -> socket.socket:
    """The engine's end, at a path to which nobody else may write.

    Raises:
        OSError: Nobody can listen there.
    """
    if path.is_socket():  # of an engine before, or of another one
        if not why_nobody_listens(path):
            raise OSError(errno.EADDRINUSE, "another engine process listens there")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def memory_file(size_bytes: int) -> int:
    """A file in memory, of which the other side may rely on that it stays as large as it is; to be closed."""
    file = os.memfd_create("detector-grpc", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(file, size_bytes)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return file


def send_opening(connection: socket.socket, opening: Opening, model: int) -> None:
    """The first message, with the file of the model."""
    socket.send_fds(connection, [json.dumps(opening).encode()], [model])


def receive_opening(connection: socket.socket) -> tuple[Opening, mmap] | None:
    """The first message, and the model; None from who leaves without one, since it only looked who listens.

    Raises:
        NotUnderstood: It is none.
    """
    if not connection.recv(1, socket.MSG_PEEK):
        return None
    message, model = _receive_file(connection)
    try:
        digest, path, feeds, outputs = json.loads(message)
        return Opening(digest, path, tuple(_shapes(dict(feeds)).items()), tuple(outputs)), model
    except (TypeError, ValueError) as error:
        raise NotUnderstood(f"no opening: {error}") from error


def send_shapes(connection: socket.socket, shapes: RowShapes) -> None:
    """The answer to an opening."""
    connection.send(json.dumps(shapes).encode())


def send_refusal(connection: socket.socket, message: str) -> None:
    """The other answer to it."""
    connection.send(json.dumps({"error": message}).encode()[:_MAX_MESSAGE_BYTES])


def receive_shapes(connection: socket.socket) -> RowShapes:
    """The answer to an opening.

    Raises:
        NotUnderstood: It is none.
        Refused: The engine cannot run the model.
    """
    message = connection.recv(_MAX_MESSAGE_BYTES)
    if not message:
        raise NotUnderstood("the engine has left")
    answer = json.loads(message)
    if isinstance(answer, dict):
        raise Refused(answer["error"])
    feeds, results = answer
    return RowShapes(_shapes(feeds), _shapes(results))


def send_row(connection: socket.socket, row: int) -> None:
    """The file of the memory of a row."""
    socket.send_fds(connection, [b"m"], [row])


def receive_row(connection: socket.socket, size_bytes: int) -> mmap:
    """The memory of a row.

    Raises:
        NotUnderstood: It is none, or not as large as it must be.
    """
    _, memory = _receive_file(connection)
    if len(memory) != size_bytes:
        raise NotUnderstood(f"a row of {len(memory)} bytes in the place of {size_bytes}")
    return memory


def _receive_file(connection: socket.socket) -> tuple[bytes, mmap]:
    message, files, _, _ = socket.recv_fds(connection, _MAX_MESSAGE_BYTES, 1)
    if not files:
        raise NotUnderstood("no file where one must be")
    with os.fdopen(files[0], "r+b", buffering=0) as file:
        # Memory that another process can take away would end this one when it is touched.
        if not fcntl.fcntl(file, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
            raise NotUnderstood("a file that may become smaller")
        return message, mmap(file.fileno(), 0)


def _shapes(arrays: Mapping[str, list[Any]]) -> dict[str, ArrayShape]:
    return {name: ArrayShape(tuple(shape), dtype) for name, (shape, dtype) in arrays.items()}
