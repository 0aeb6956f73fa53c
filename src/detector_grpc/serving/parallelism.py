"""How many threads a model gets for one picture: several while few pictures are looked at, else one.

A picture that is alone is ready sooner on all processors, though together they do more work for it than one would.
Where there are pictures for more than half of the processors, one thread for each gets more of them done.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector_grpc.errors import ModelInvalid
from detector_grpc.serving.cpu import WORK, is_batch_thread, stand_back
from detector_grpc.serving.session import OnnxSession, optimise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from detector_grpc.serving.session import Model, Session


log = logging.getLogger(__name__)


class Parallelism:
    """Decides for all sessions of a process, since they share its processors. Any thread may ask.

    Args:
        threads: Threads of a wide run, the calling one among them.
        workers: Most pictures that are looked at at once.
        in_flight: How many are now, of those that somebody waits for.
    """

    def __init__(self, threads: int, workers: int, in_flight: Callable[[], int]) -> None:
        self.threads = threads
        self._few = max(1, workers // 2)
        self._in_flight = in_flight
        # Those with which a model is tried before it is READY are not in flight.
        self._places = threading.BoundedSemaphore(self._few)

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Around a run of the calling thread: whether it may be wide. One of batch work never may."""
        crowded = is_batch_thread() or self._in_flight() > self._few
        wide = not crowded and self._places.acquire(blocking=False)
        try:
            yield wide
        finally:
            if wide:
                self._places.release()


def open_sharing(model: Model, threads: Sequence[int]) -> Sequence[Session]:
    """Sessions with these numbers of threads, which have the same weights in memory.

    ONNX Runtime maps weights that lie in a file of their own into memory, and does not copy them; the mappings of one
    file are the same memory, and stay when the file has gone. So it first writes what its optimisations make of the
    model. Where there is no room for that, each session has weights of its own.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="detector-grpc-") as folder:
            optimised = optimise(model, Path(folder))
            return [OnnxSession(optimised, intra_op_threads=each, optimised=False) for each in threads]
    except (OSError, ModelInvalid) as error:
        sessions = [OnnxSession(model, intra_op_threads=each) for each in threads]  # tells if it is the model's fault
        log.warning("weights are in memory more than once: no temporary file", extra={"cause": str(error)})
        return sessions


class AdaptiveSession:
    """A model on the CPU, with as many threads for each run as are worth it; see Session.

    The number of threads belongs to a session, so there are two.

    Args:
        model: The model.
        parallelism: Decides which runs are wide.
        open_pair: Opens the model twice, with these numbers of threads for a run. By default in ONNX Runtime, with the
            weights in memory once.

    Raises:
        ModelInvalid: It cannot be opened.
    """

    def __init__(
        self,
        model: Model,
        parallelism: Parallelism,
        open_pair: Callable[[Model, Sequence[int]], Sequence[Session]] = open_sharing,
    ) -> None:
        self._parallelism = parallelism
        # The threads that a runtime makes stand back as far as the one that it makes them on.
        with ThreadPoolExecutor(1, initializer=stand_back, initargs=(WORK,)) as like_a_worker:
            opened = like_a_worker.submit(open_pair, model, (1, parallelism.threads))
            self._narrow, self._wide = opened.result()
        self.provider = self._narrow.provider

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """See Session."""
        with self._parallelism.place() as wide:
            return (self._wide if wide else self._narrow).run(feeds, outputs)

    def close(self) -> None:
        """See Session."""
        self._narrow.close()
        self._wide.close()
