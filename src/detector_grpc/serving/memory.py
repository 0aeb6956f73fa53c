"""How the C library keeps memory that was freed, and when the system gets it back.

Left to itself, glibc gives threads heaps of their own, and each keeps what large blocks leave behind for the next ones,
which may not fit. A process then grows with the models that it loads and frees (measured: by half within a hundred),
and yet fetches its pages anew for each large picture (measured: 2,000 for a PNG of 1920 x 1080). So there is one heap
for all threads, which keeps enough for pictures (20), and is told to give back the rest when a model has gone (no
growth) or come (a twentieth of a small server). Other C libraries have none of this, and are left alone.
"""

from __future__ import annotations

import ctypes

MIB = 1024 * 1024

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8

# Blocks up to the former come from the heap, which keeps up to the latter free at its end; glibc's own upper bounds.
_LARGEST_IN_HEAP_BYTES = 32 * MIB
_MOST_KEPT_BYTES = 64 * MIB

_libc = ctypes.CDLL(None)


def use_one_heap() -> None:
    """Prepares the process; to be called before it has threads that allocate."""
    set_option = getattr(_libc, "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, 1)
        set_option(_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP_BYTES)
        set_option(_M_TRIM_THRESHOLD, _MOST_KEPT_BYTES)


def give_back() -> None:
    """Returns to the system what is free; blocks for some milliseconds."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)
