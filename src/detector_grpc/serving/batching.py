"""One session made of engines that are fastest when they look at several pictures at once, as GPUs are.

Pictures wait in one line. An engine that is free takes as many of them as make a batch, so batches are as large as the
load is high, and a picture that comes alone does not wait. Nothing is copied to make a batch: each picture lies in
memory of its own, from which the engine fetches it, and to which it brings the results.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from math import inf
from mmap import mmap
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from detector_grpc.errors import InferenceFailed, ModelInvalid, listed
from detector_grpc.serving.per_thread import PerThread
from detector_grpc.serving.rows import Row, RowShapes
from detector_grpc.serving.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray


log = logging.getLogger(__name__)


class Engine(Session, Protocol):
    """A session that runs one batch at a time."""

    def pinned(self, memory: mmap) -> AbstractContextManager[None]:
        """While it is entered, memory of rows is fast to copy to where the engine works, and from there."""

    def run_batch(self, rows: Sequence[Row], size: int) -> None:
        """Runs the model once, on a batch of `size` rows that begins with these; always called by the same thread.

        Raises:
            InferenceFailed: The runtime refused.
        """


class _Waiting(NamedTuple):
    row: Row
    since: float
    done: Callable[[Exception | None], None]


class Batcher:
    """Runs rows, those that wait together in one batch, in the order of coming.

    Args:
        engines: What runs the batches; all have the same model.
        max_batch: Most pictures in a batch. A model that takes one picture only, or has outputs without a row for each,
            is run on one at a time.
        max_delay_s: Seconds that a picture waits for others while an engine is free.
    """

    def __init__(self, engines: Sequence[Engine], max_batch: int, max_delay_s: float) -> None:
        self._engines = engines
        self._sizes = batch_sizes(max_batch)
        self._max_delay_s = max_delay_s
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads: list[threading.Thread] = []

    def prepare(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> RowShapes:
        """Finds out what one picture takes; has every engine run every size of batch once, and starts them.

        Args:
            feeds: Those of one picture.
            outputs: Names of the outputs that are wanted.

        Raises:
            InferenceFailed: The runtime refused.
            ModelInvalid: The outputs are as large as what is found, so nobody can say what a picture takes.
        """
        engine = self._engines[0]
        blank = {name: np.zeros_like(value) for name, value in feeds.items()}
        results = dict(zip(outputs, engine.run(blank, outputs), strict=True))
        growing = [name for name, value in results.items() if not value.size]
        if growing:
            raise ModelInvalid(
                f"of a blank picture {listed(growing)} is empty, so it grows with what is found, which GPUs are not "
                "prepared for: export the model without NMS, or with a fixed number of boxes"
            )
        shapes = RowShapes.of(feeds, results)
        if self._sizes[-1] > 1 and not _has_rows(engine, feeds, outputs):
            log.warning("a model cannot be run in batches: its file fixes their size, or its outputs have no batch")
            self._sizes = [1]
        memory = mmap(-1, shapes.size_bytes)
        with self.pinned(memory):
            prepared = [self._start(engine, shapes.row_in(memory)) for engine in self._engines]
            wait(prepared)  # for all, before the memory goes
        for each in prepared:
            each.result()
        return shapes

    def pinned(self, memory: mmap) -> AbstractContextManager[None]:
        """See Engine."""
        return self._engines[0].pinned(memory)

    def submit(self, row: Row, done: Callable[[Exception | None], None]) -> None:
        """Runs a row; `done` is called by an engine's thread, with what went wrong, and must not raise."""
        with self._changed:
            self._waiting.append(_Waiting(row, time.monotonic(), done))
            self._changed.notify()

    def close(self) -> None:
        """Ends the threads when all rows are run, and closes the engines."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for engine in self._engines:
            engine.close()

    def _start(self, engine: Engine, row: Row) -> Future[None]:
        """Starts an engine's thread; done when it has run all sizes."""
        prepared: Future[None] = Future()
        # A process that ends without closing anything is not kept by it.
        thread = threading.Thread(target=self._serve, args=(engine, row, prepared), name="engine", daemon=True)
        self._threads.append(thread)
        thread.start()
        return prepared

    def _serve(self, engine: Engine, row: Row, prepared: Future[None]) -> None:
        """Runs all sizes once, and then batches until closed."""
        try:
            for size in self._sizes:
                engine.run_batch([row], size)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            prepared.set_exception(error)
            return
        prepared.set_result(None)
        while batch := self._next():
            size = next(size for size in self._sizes if size >= len(batch))
            failure = None
            try:
                engine.run_batch([each.row for each in batch], size)
            except Exception as error:  # noqa: BLE001 - everyone who waits for it is told
                failure = error
            for each in batch:
                each.done(failure)

    def _next(self) -> list[_Waiting]:
        """Those that have waited longest, when there are enough of them or the first has waited enough; else none."""
        with self._changed:
            while True:
                wait_s = self._wait_s()
                if wait_s <= 0:
                    return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._sizes[-1]))]
                self._changed.wait(None if wait_s == inf else wait_s)

    def _wait_s(self) -> float:
        """Until the next batch may begin, if nothing changes."""
        if self._closed or len(self._waiting) >= self._sizes[-1]:
            return 0.0
        return self._waiting[0].since + self._max_delay_s - time.monotonic() if self._waiting else inf


class BatchingSession:
    """Puts the pictures of concurrent runs into batches. `run` takes and returns one row.

    What it returns lies in the calling thread's own memory, and is overwritten by that thread's next run. The first run
    prepares the engines.

    Args:
        engines: What runs the batches; all have the same model.
        max_batch: Most pictures in a batch.
        max_delay_s: Seconds that a picture waits for others while an engine is free.
    """

    def __init__(self, engines: Sequence[Engine], max_batch: int, max_delay_s: float = 0.0) -> None:
        self.provider = engines[0].provider
        self._batcher = Batcher(engines, max_batch, max_delay_s)
        self._one_at_a_time = threading.Lock()
        self._shapes: RowShapes | None = None
        self._places: PerThread[_Place] = PerThread()
        self._pinned = ExitStack()

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """See Session; the outputs must be those of the first run."""
        place = self._places.get(partial(self._new_place, feeds, outputs))
        for name, value in feeds.items():
            np.copyto(place.row.feeds[name], value)
        self._batcher.submit(place.row, place.finish)
        place.wait()
        return [place.row.results[name] for name in outputs]

    def close(self) -> None:
        """See Session."""
        self._batcher.close()
        self._pinned.close()

    def _new_place(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> _Place:
        with self._one_at_a_time:
            if self._shapes is None:
                self._shapes = self._batcher.prepare(feeds, outputs)
            memory = mmap(-1, self._shapes.size_bytes)
            self._pinned.enter_context(self._batcher.pinned(memory))
        return _Place(self._shapes.row_in(memory))


@dataclass(eq=False)
class _Place:
    """Where a thread waits for its picture."""

    row: Row
    _done: threading.Event = field(default_factory=threading.Event)
    _failure: Exception | None = None

    def finish(self, failure: Exception | None) -> None:
        self._failure = failure
        self._done.set()

    def wait(self) -> None:
        self._done.wait()
        self._done.clear()
        if self._failure is not None:
            raise InferenceFailed from self._failure


def batch_sizes(max_batch: int) -> list[int]:
    """The sizes that batches are run in: the powers of two, and the largest."""
    return [*(1 << power for power in range((max_batch - 1).bit_length())), max_batch]


def _has_rows(session: Session, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> bool:
    """Whether the model answers two pictures, each in a row of its own of every output."""
    try:
        results = session.run({name: np.repeat(value, 2, axis=0) for name, value in feeds.items()}, outputs)
    except InferenceFailed:
        return False
    return all(value.shape[:1] == (2,) for value in results)
