"""A GPU that is none: an engine that takes the time of one for each batch, and no processor.

As a script this is `detector-grpc` with such engines in the place of GPUs, whatever the model files hold, where the
settings ask for a GPU: `benchmarks/engine.py BATCH_MS PICTURE_MS serve --runtime-provider CUDAExecutionProvider …`,
where a batch takes BATCH_MS and PICTURE_MS for each of its pictures.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import numpy as np

from detector_grpc import cli, configured
from detector_grpc.serving.gpu import providers
from detector_grpc.serving.session import Model, Signature, TensorInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from mmap import mmap
    from pathlib import Path

    from numpy.typing import NDArray

    from detector_grpc.serving.gpu.providers import GpuOptions
    from detector_grpc.serving.inputs import ImageInput
    from detector_grpc.serving.rows import Row
    from detector_grpc.serving.session import Session

PR_SET_TIMERSLACK = 29  # prctl(2)

# float32 (N, 84, 2100): what a detector of 80 classes makes of a picture of 320 x 320.
OUTPUT = TensorInfo("output0", "float32", (1, 84, 2100))


class Curve(NamedTuple):
    """What a batch takes, in seconds: so much, and so much for each of its pictures."""

    batch_s: float
    picture_s: float


class CurveEngine:
    """Runs one batch after the other, and finds nothing; see `serving.batching.Engine`.

    It waits without the interpreter's lock, and keeps to a schedule: to wake up late does not make it slower.
    """

    provider = "none"

    def __init__(self, curve: Curve) -> None:
        self._curve = curve
        self._free_at = 0.0

    def pinned(self, _: mmap) -> AbstractContextManager[None]:
        """See Engine."""
        return nullcontext()

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """See Session."""
        pictures = len(next(iter(feeds.values())))
        return [np.zeros((pictures, *OUTPUT.shape[1:]), np.float32) for _ in outputs]  # type: ignore[arg-type]

    def run_batch(self, rows: Sequence[Row], size: int) -> None:  # noqa: ARG002 - all rows stay as they are
        """See Engine."""
        begins_at = max(self._free_at, time.perf_counter())
        self._free_at = begins_at + self._curve.batch_s + size * self._curve.picture_s
        time.sleep(max(self._free_at - time.perf_counter(), 0.0))

    def close(self) -> None:
        """See Session."""


class CurveFile:
    """A model file that is not read; see `serving.session.ModelFile`."""

    def __init__(self, path: Path, open_session: Callable[[Model], Session]) -> None:
        self._path, self._open_session = path, open_session
        inputs = (TensorInfo("images", "float32", (1, 3, 320, 320)),)
        self.signature = Signature(inputs, (OUTPUT,), {}, f"sha256:{0:064}")

    def run(self, _: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """See ModelFile."""
        return [np.zeros(OUTPUT.shape, np.float32) for _ in outputs]  # type: ignore[arg-type]

    def taking(self, _: ImageInput, *, bf16: bool = False) -> Session:  # noqa: ARG002
        """See ModelFile."""
        return self._open_session(Model(self._path, b"none"))

    def close(self) -> None:
        """See ModelFile."""


def curve_engines(curve: Curve, gpu: GpuOptions, _: Model) -> list[CurveEngine]:
    """In the place of `providers.open_engines`."""
    return [CurveEngine(curve) for _ in range(len(gpu.devices) * gpu.engines)]


def exact_sleep() -> None:
    """Has the kernel wake this thread, and those that it starts, when they asked for it, and not up to 50 µs later."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1)  # nanoseconds


def main() -> None:
    """`detector-grpc`, with the engines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("batch_ms", metavar="BATCH_MS", type=float, help="milliseconds that a batch takes")
    parser.add_argument("picture_ms", metavar="PICTURE_MS", type=float, help="milliseconds for each of its pictures")
    parser.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="what detector-grpc is to do")
    given = parser.parse_args()
    curve = Curve(given.batch_ms / 1e3, given.picture_ms / 1e3)
    exact_sleep()
    with (
        mock.patch.object(configured, "OnnxFile", CurveFile),
        mock.patch.object(configured, "check"),
        mock.patch.object(providers, "open_engines", partial(curve_engines, curve)),
    ):
        cli.main(given.command)


if __name__ == "__main__":
    main()
