"""A GPU that is this processor, with the memory of this process: all that is done for GPUs but what CUDA does.

As a script this is `detector-grpc` with such GPUs, where the settings ask for one.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

from detector_grpc import cli, configured
from detector_grpc.serving.gpu import providers
from detector_grpc.serving.gpu.engine import BoundEngine
from detector_grpc.serving.session import CPU_PROVIDER
from detector_grpc.up import app as up_app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from mmap import mmap

    from numpy.typing import NDArray

    from detector_grpc.serving.gpu.providers import GpuOptions
    from detector_grpc.serving.session import Model


# Its folder has modules with the names of others.
PROGRAM = (sys.executable, "-P", __file__)


class HostMemory:
    """A device whose memory is this process's own. Copies are made when they are waited for, as on a GPU at the latest.

    Attributes:
        copies: Bytes of every copy, in order.
    """

    kind = "cpu"
    device = 0

    def __init__(self) -> None:
        self._begun: list[tuple[int, int, int]] = []
        self.copies: list[int] = []

    @contextmanager
    def pinned(self, _: mmap) -> Iterator[None]:
        yield

    def upload(self, source: NDArray[Any], target: int) -> None:
        assert source.flags.c_contiguous
        self._begun.append((target, source.ctypes.data, source.nbytes))

    def download(self, source: int, target: NDArray[Any]) -> None:
        assert target.flags.c_contiguous
        self._begun.append((target.ctypes.data, source, target.nbytes))

    def wait(self) -> None:
        for target, source, size in self._begun:
            ctypes.memmove(target, source, size)
            self.copies.append(size)
        self._begun.clear()


def open_engines(gpu: GpuOptions, model: Model) -> list[BoundEngine]:
    """In the place of `providers.open_engines`."""
    count = len(gpu.devices) * gpu.engines
    return [BoundEngine(model, CPU_PROVIDER, {}, HostMemory()) for _ in range(count)]


def main() -> None:
    with (
        mock.patch.object(configured, "check"),
        mock.patch.object(providers, "open_engines", open_engines),
        mock.patch.object(up_app, "COMMAND", PROGRAM),
    ):
        cli.main()


if __name__ == "__main__":
    main()
