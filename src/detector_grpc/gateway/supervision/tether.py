"""Becomes a command that the kernel kills as soon as its parent is gone, however that ended.

A script, run without the rest of this package: `python -I -S tether.py PARENT COMMAND…`. Only Linux knows such a
tether; elsewhere the command outlives a parent that was killed.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h

if __name__ == "__main__":
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):  # gone before we were tied to it
            sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 - one of our own command lines, and no shell
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")
