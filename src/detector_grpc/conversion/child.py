"""Programs that are run for a while: bounded in time, and ended before this process with whomever they have started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from detector_grpc.gateway.supervision import tether

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

# Of what it has said, what an error may quote; and characters of a line, of which a longer one is several.
_LAST_LINES = 20
_LINE_LENGTH = 1 << 16


@dataclass
class Ended:
    """How it went.

    Attributes:
        code: Its exit code; less than 0 the signal that has ended it.
        is_late: Whether its time was over.
        last_lines: The end of what it has said.
    """

    code: int = 0
    is_late: bool = False
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))


def run(
    command: Sequence[str | Path],
    folder: Path,
    environment: Mapping[str, str],
    timeout_s: float,
    said: Callable[[str], None] = lambda _: None,
    request: str = "",
) -> Ended:
    """Runs a program until it ends, or its time is over; whatever happens here, nobody of it is left afterwards.

    Args:
        command: Its command line.
        folder: Where it works.
        environment: Its environment, whole.
        timeout_s: Most seconds.
        said: Is told each line that it prints.
        request: What it reads from standard input.

    Raises:
        OSError: It cannot be started.
    """
    ended = Ended()
    process = subprocess.Popen(  # noqa: S603 - command lines of our own
        [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *command],
        cwd=folder,
        env={**environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        errors="replace",
    )

    def end() -> None:
        ended.is_late = True
        _kill(process)

    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None  # noqa: S101 - for types: both are pipes
    assert stdout is not None  # noqa: S101 - as above
    timer = threading.Timer(timeout_s, end)
    timer.start()
    try:
        with contextlib.suppress(BrokenPipeError), stdin:
            stdin.write(request)
        for line in iter(partial(stdout.readline, _LINE_LENGTH), ""):
            if line.strip():
                ended.last_lines.append(line.rstrip())
                said(line.rstrip())
        ended.code = process.wait()
    finally:
        timer.cancel()
        _kill(process)
        process.wait()
        stdout.close()
    return ended


def _kill(process: subprocess.Popen[str]) -> None:
    """It, and whomever it has started itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
