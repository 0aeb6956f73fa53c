"""Which processors this process may really use, and which of its threads get them first."""

from __future__ import annotations

import math
import os
import sys
import threading
from pathlib import Path

# As `nice` counts. The event loop takes moments and is not to wait for the time slice of a thread that computes. Batch
# work gets about a tenth of the time of other work where both want all of it.
WORK, BATCH_WORK = 4, 14
_MOST_NICE = 19

_this_thread = threading.local()

CGROUP = Path("/sys/fs/cgroup")


def cpu_limit(cgroup: Path = CGROUP) -> int:
    """Whole processors that the scheduler's affinity and the control group's quota allow; at least 1.

    ONNX Runtime, OpenCV and BLAS count the host's processors instead, and a container with a quota of 2 on a host with
    64 would run 64 threads that throttle each other.

    Args:
        cgroup: Root of the control group file system: version 2 (`cpu.max`) or 1 (`cpu/cpu.cfs_quota_us`).
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, min(affinity, math.floor(quota) if quota is not None else affinity))


def stand_back(steps: int) -> None:
    """Has the system prefer threads that did not stand back as far to the calling one, where it can tell them apart."""
    _this_thread.steps = steps
    if sys.platform == "linux":  # elsewhere the number of a thread means nothing to it
        thread = threading.get_native_id()
        nice = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, min(nice + steps, _MOST_NICE))


def is_batch_thread() -> bool:
    """Whether the calling thread has stood back as far as those of batch work do."""
    return getattr(_this_thread, "steps", 0) >= BATCH_WORK


def _quota(cgroup: Path) -> float | None:
    """Processors' worth of time per period, or None without a limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return None if quota in ("max", "-1") else int(quota) / int(period)
