"""An engine that takes no processor: it stands for a GPU where the work of the host is measured.

As a script this is `detector-grpc` with the engine in the place of ONNX Runtime, whatever the model files hold:
`python benchmarks/engine.py 0.3 serve --models-repository …`, where 0.3 is the milliseconds that a picture takes.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from unittest import mock

import numpy as np

from detector_grpc import app, cli
from detector_grpc.serving.session import Signature, TensorInfo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from detector_grpc.serving.inputs import ImageInput

PR_SET_TIMERSLACK = 29  # prctl(2)


class Engine:
    """A session, and its file, that runs one batch after the other, and finds nothing.

    Threads wait for their turn and for the end without the interpreter's lock. Turns are kept on a schedule, so that
    a thread that wakes up late delays nobody but its own caller.

    Args:
        picture_s: Seconds for each picture.
        path: The model file, which is not read.
    """

    def __init__(self, picture_s: float, path: Path) -> None:  # noqa: ARG002 - what every session is opened with
        self._picture_s = picture_s
        self._found = np.zeros((1, 84, 2100), np.float32)
        self._free_at = 0.0
        self._lock = threading.Lock()
        self.signature = Signature(
            inputs=(TensorInfo("images", "float32", (1, 3, 320, 320)),),
            outputs=(TensorInfo("output0", "float32", self._found.shape),),
            metadata={},
            digest=f"sha256:{0:064}",
        )
        self.provider = "Engine"

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """See Session."""
        pictures = len(next(iter(feeds.values())))
        with self._lock:
            self._free_at = done_at = max(self._free_at, time.perf_counter()) + pictures * self._picture_s
        time.sleep(max(done_at - time.perf_counter(), 0.0))
        return [self._found for _ in outputs]

    def taking(self, image: ImageInput) -> Self:  # noqa: ARG002 - whatever it is fed
        """See ModelFile."""
        return self

    def close(self) -> None:
        """See Session."""


def exact_sleep() -> None:
    """Has the kernel wake this thread, and those that it starts, when they asked for it, and not up to 50 µs later."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1)  # nanoseconds


def main() -> None:
    """`detector-grpc`, with the engine."""
    picture_s = float(sys.argv.pop(1)) / 1e3
    exact_sleep()
    with mock.patch.object(app, "open_file", return_value=partial(Engine, picture_s)):
        cli.main()


if __name__ == "__main__":
    main()
