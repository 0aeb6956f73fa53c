"""The engine process as its servers see it: runs what they want run, the pictures of all of them in one batch."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detector_grpc.errors import DetectorError
from detector_grpc.serving.batching import Batcher
from detector_grpc.serving.remote import wire
from detector_grpc.serving.session import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from mmap import mmap

    from detector_grpc.serving.batching import Engine
    from detector_grpc.serving.rows import RowShapes

log = logging.getLogger(__name__)

# Between two tries to take a connection, where too many files are open.
_PAUSE_S = 0.1


class EngineServer:
    """Answers servers, each connection on a thread of its own.

    Args:
        path: The socket to listen on; whoever may write to it may use the GPU.
        open_engines: Makes of a model what runs its batches.
        max_batch: Most pictures in a batch.
        max_delay_s: Seconds that a picture waits for others while an engine is free.

    Raises:
        OSError: Nobody can listen there.
    """

    def __init__(
        self,
        path: Path,
        open_engines: Callable[[Model], Sequence[Engine]],
        max_batch: int,
        max_delay_s: float,
    ) -> None:
        self._open_engines = open_engines
        self._max_batch = max_batch
        self._max_delay_s = max_delay_s
        self._lock = threading.Lock()
        self._held: dict[wire.Opening, _Held] = {}
        self._refused: dict[wire.Opening, str] = {}
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._closed = threading.Event()
        self._listener = wire.listen(path)
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def close(self) -> None:
        """Leaves all servers, and frees all models."""
        self._closed.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        with self._lock:
            connections = dict(self._connections)
        for connection in connections.values():
            with suppress(OSError):  # the other side has just left
                connection.shutdown(socket.SHUT_RDWR)
        for thread in connections:
            thread.join()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if not self._closed.is_set():
                    log.error("servers have to wait", extra={"cause": str(error)})  # noqa: TRY400 - expected
                    self._closed.wait(_PAUSE_S)
                continue
            thread = threading.Thread(target=self._answer, args=(connection,))
            with self._lock:
                self._connections[thread] = connection
            thread.start()

    def _answer(self, connection: socket.socket) -> None:
        """Everything that one connection asks for, until it ends."""
        try:
            with connection:
                self._run_rows(connection)
        except (OSError, wire.NotUnderstood) as error:
            log.info("a server left in the middle of a word", extra={"cause": str(error)})
        except Exception:
            log.exception("a server's connection failed in an unexpected way")
        finally:
            with self._lock:
                del self._connections[threading.current_thread()]

    def _run_rows(self, connection: socket.socket) -> None:
        received = wire.receive_opening(connection)
        if received is None:
            return
        opening, model = received
        with self._holding(opening) as held:
            try:
                opened = held.opened(partial(self._open, opening, model))
            except DetectorError as error:
                self._say_refused(opening, error.message)
                wire.send_refusal(connection, error.message)
                return
            del received, model  # which has a file open
            wire.send_shapes(connection, opened.shapes)
            memory = wire.receive_row(connection, opened.shapes.size_bytes)
            row, turn = opened.shapes.row_in(memory), threading.Lock()

            def done(failure: Exception | None) -> None:
                turn.release()
                _say(connection, failure)

            with opened.batcher.pinned(memory):
                try:
                    while connection.recv(1):
                        turn.acquire()
                        opened.batcher.submit(row, done)
                finally:
                    turn.acquire()  # the memory is needed until the engine is done with it

    def _open(self, opening: wire.Opening, model: mmap) -> _Opened:
        engines = self._open_engines(Model(Path(opening.path), model[:]))
        feeds = {name: np.zeros(shape, dtype) for name, (shape, dtype) in opening.feeds}
        batcher = Batcher(engines, self._max_batch, self._max_delay_s)
        try:
            opened = _Opened(batcher.prepare(feeds, opening.outputs), batcher)
        except BaseException:
            batcher.close()
            raise
        with self._lock:
            self._refused.pop(opening, None)
        log.info("model ready", extra={"digest": opening.digest, "provider": engines[0].provider})
        return opened

    def _say_refused(self, opening: wire.Opening, cause: str) -> None:
        """Once for all threads of all servers that ask for a model, until it can be run or the cause is another."""
        with self._lock:
            said, self._refused[opening] = self._refused.get(opening), cause
        if said != cause:
            log.error("model refused", extra={"digest": opening.digest, "cause": cause})

    @contextmanager
    def _holding(self, opening: wire.Opening) -> Iterator[_Held]:
        """The model of an opening; it is closed when nobody holds it any more."""
        with self._lock:
            held = self._held.setdefault(opening, _Held())
            held.holders += 1
        try:
            yield held
        finally:
            with self._lock:
                held.holders -= 1
                if not held.holders:
                    del self._held[opening]
            if not held.holders and held.model is not None:
                held.model.batcher.close()
                log.info("model freed", extra={"digest": opening.digest})


class _Opened(NamedTuple):
    """A model that can be run."""

    shapes: RowShapes
    batcher: Batcher


@dataclass(eq=False)
class _Held:
    """A model that connections have asked for: the first one opens it, and others wait for that."""

    holders: int = 0
    model: _Opened | None = None
    _opening: threading.Lock = field(default_factory=threading.Lock)

    def opened(self, open_model: Callable[[], _Opened]) -> _Opened:
        with self._opening:
            if self.model is None:
                self.model = open_model()
            return self.model


def _say(connection: socket.socket, failure: Exception | None) -> None:
    """How a run went, to whoever waits for it."""
    if failure is not None:
        log.error("batch failed", exc_info=failure)
    with suppress(OSError):  # nobody does any more, or nobody reads; the engine waits for nobody
        connection.send(wire.DONE if failure is None else wire.FAILED, socket.MSG_DONTWAIT)
