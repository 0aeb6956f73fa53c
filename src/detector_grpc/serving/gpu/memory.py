"""Copies between the memory of this process and that of a GPU, by CUDA's driver, which every GPU comes with.

ONNX Runtime copies, too, but while it does so it keeps all other Python threads from running.
"""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from mmap import mmap

    from numpy.typing import NDArray

_FOR_ALL_CONTEXTS = 1  # CU_MEMHOSTREGISTER_PORTABLE
_BESIDE_OTHERS = 1  # CU_STREAM_NON_BLOCKING


class CudaFailed(Exception):
    """The driver refused, or there is none."""


class CudaMemory:
    """The memory of one GPU. Copies are made in the order in which they were begun, and by one thread at a time.

    Args:
        device: Number of the GPU, as CUDA counts them.

    Attributes:
        kind: What ONNX Runtime calls such memory.
        device: The number.

    Raises:
        CudaFailed: There is no such GPU, or no driver.
    """

    kind = "cuda"

    def __init__(self, device: int) -> None:
        self.device = device
        self._context, self._stream = ctypes.c_void_p(), ctypes.c_void_p()
        number = ctypes.c_int()
        _call("cuInit", 0)
        _call("cuDeviceGet", ctypes.byref(number), device)
        # The context that ONNX Runtime works in, too; it is there for as long as the process.
        _call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), number)
        self._enter()
        _call("cuStreamCreate", ctypes.byref(self._stream), _BESIDE_OTHERS)

    @contextmanager
    def pinned(self, memory: mmap) -> Iterator[None]:
        """While it is entered, memory is kept from being moved, so that GPUs can read and write it by themselves."""
        address = ctypes.c_void_p(ctypes.addressof(ctypes.c_ubyte.from_buffer(memory)))
        self._enter()
        _call("cuMemHostRegister_v2", address, ctypes.c_size_t(len(memory)), _FOR_ALL_CONTEXTS)
        try:
            yield
        finally:
            self._enter()
            _call("cuMemHostUnregister", address)

    def upload(self, source: NDArray[Any], target: int) -> None:
        """Begins to copy a contiguous array to an address on the GPU."""
        self._enter()
        size = ctypes.c_size_t(source.nbytes)
        _call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(target), _address(source), size, self._stream)

    def download(self, source: int, target: NDArray[Any]) -> None:
        """Begins to copy from an address on the GPU into a contiguous array."""
        self._enter()
        size = ctypes.c_size_t(target.nbytes)
        _call("cuMemcpyDtoHAsync_v2", _address(target), ctypes.c_uint64(source), size, self._stream)

    def wait(self) -> None:
        """Returns when all copies are made."""
        _call("cuStreamSynchronize", self._stream)

    def _enter(self) -> None:
        """The driver knows for each thread where it works."""
        _call("cuCtxSetCurrent", self._context)


def _address(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@cache
def _driver() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise CudaFailed("there is no NVIDIA driver: libcuda.so.1 cannot be loaded") from error


def _call(function: str, *arguments: Any) -> None:  # noqa: ANN401 - as C takes them
    if code := getattr(_driver(), function)(*arguments):
        name = ctypes.c_char_p()
        _driver().cuGetErrorName(code, ctypes.byref(name))
        raise CudaFailed(f"{function}: {name.value.decode() if name.value else code}")
