"""A model that runs in the engine process, as a server sees it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import os
import threading
import time
from contextlib import ExitStack
from functools import partial
from mmap import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

from detector_grpc.errors import EngineGone, InferenceFailed, ModelInvalid
from detector_grpc.serving.per_thread import PerThread
from detector_grpc.serving.remote import wire
from detector_grpc.serving.rows import ArrayShape

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from detector_grpc.serving.rows import Row
    from detector_grpc.serving.session import Model


log = logging.getLogger(__name__)

_PAUSE_S = 0.1

# Seconds after which an engine process that was started together with its servers listens, or something is wrong.
STARTED_S = 5.0


def why_no_engine(engine: Path) -> str:
    """What the operator is told where no engine process listens; empty where one does."""
    why = wire.why_nobody_listens(engine)
    return f"no engine process listens at {engine}: {why} (`detector-grpc engine` starts one)" if why else ""


async def until_engine(engine: Path) -> None:
    """Waits until an engine process listens, for as long as it takes; what is waited for is said once in the log."""
    clock = asyncio.get_running_loop().time
    says_at = clock() + STARTED_S
    while why := why_no_engine(engine):
        if clock() >= says_at:
            log.warning("%s; models are loaded when one does", why)
            says_at = math.inf
        await asyncio.sleep(_PAUSE_S)


class RemoteSession:
    """See Session. What `run` returns lies in the calling thread's own memory, until that thread's next run.

    Args:
        engine: The socket on which the engine process listens.
        provider: The execution provider on which the engine process runs models.
        model: The model.
        patience_s: Seconds that the engine process may take to start.

    Raises:
        ModelInvalid: No engine process listens there.
    """

    def __init__(self, engine: Path, provider: str, model: Model, patience_s: float = 60.0) -> None:
        self.provider = provider
        self._engine, self._path = str(engine), str(model.path.absolute())
        _await_engine(engine, patience_s)
        self._digest = hashlib.sha256(model.content).hexdigest()
        self._model = wire.memory_file(len(model.content))
        os.pwrite(self._model, model.content, 0)
        self._own: PerThread[_Connection] = PerThread()
        self._lock = threading.Lock()
        self._connections: set[_Connection] = set()

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """See Session.

        Raises:
            EngineGone: The engine process is not there, or was lost on the way.
            ModelInvalid: It cannot run the model.
        """
        try:
            connection = self._own.get(partial(self._connected, feeds, outputs))
            connection.run(feeds)
        except (OSError, wire.NotUnderstood) as error:
            self._forget(self._own.take_back())
            raise EngineGone from error
        return [connection.row.results[name] for name in outputs]

    def close(self) -> None:
        """See Session."""
        self._forget(tuple(self._connections))
        os.close(self._model)

    def _connected(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> _Connection:
        shapes = tuple((name, ArrayShape.of(value)) for name, value in feeds.items())
        opening = wire.Opening(self._digest, self._path, shapes, tuple(outputs))
        try:
            connection = _Connection(self._engine, opening, self._model)
        except wire.Refused as error:
            raise ModelInvalid(error.message) from error
        with self._lock:
            self._connections.add(connection)
        return connection

    def _forget(self, connections: Sequence[_Connection]) -> None:
        with self._lock:
            self._connections.difference_update(connections)
        for connection in connections:
            connection.close()


def _await_engine(engine: Path, patience_s: float) -> None:
    """It may be being started again."""
    patience = time.monotonic() + patience_s
    while why := why_no_engine(engine):
        if time.monotonic() > patience:
            raise ModelInvalid(why)
        time.sleep(_PAUSE_S)


class _Connection:
    """One thread's own."""

    row: Row

    def __init__(self, engine: str, opening: wire.Opening, model: int) -> None:
        with ExitStack() as failed:
            self._socket: socket.socket = failed.enter_context(wire.connect(engine))
            wire.send_opening(self._socket, opening, model)
            shapes = wire.receive_shapes(self._socket)
            file = wire.memory_file(shapes.size_bytes)
            try:
                wire.send_row(self._socket, file)
                self.row = shapes.row_in(mmap(file, shapes.size_bytes))
            finally:
                os.close(file)
            failed.pop_all()

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        for name, value in feeds.items():
            np.copyto(self.row.feeds[name], value)
        self._socket.send(wire.RUN)
        answer = self._socket.recv(1)
        if answer == wire.FAILED:
            raise InferenceFailed
        if answer != wire.DONE:
            raise wire.NotUnderstood("the engine has left")

    def close(self) -> None:
        self._socket.close()
