"""Memory that was freed goes back to the system, whichever thread had it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# In a process of its own, because it changes how the whole process allocates. Each thread leaves a small block behind
# what it frees, as threads do.
SCRIPT = """
import ctypes, os, sys, threading
from detector_grpc.serving.memory import give_back, use_one_heap

use_one_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
MIB = 1024 * 1024

def resident_bytes():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def churn():
    blocks = [libc.malloc(4 * MIB) for _ in range(8)]
    for block in blocks:
        ctypes.memset(block, 1, 4 * MIB)
    libc.malloc(2000)
    for block in blocks:
        libc.free(block)

before = resident_bytes()
for _ in range(8):
    thread = threading.Thread(target=churn)
    thread.start()
    thread.join()
kept = resident_bytes() - before
give_back()
print(kept, resident_bytes() - before)
"""
MIB = 1024 * 1024


@pytest.mark.skipif(not hasattr(__import__("ctypes").CDLL(None), "malloc_trim"), reason="not the GNU C library")
def test_one_heap_keeps_some_and_gives_it_back() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    kept, after = map(int, done.stdout.split())
    assert kept >= 16 * MIB  # for the next picture
    assert after < 4 * MIB
