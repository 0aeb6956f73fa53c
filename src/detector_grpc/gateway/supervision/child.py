"""A process that is started again whenever it ends, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.supervision import tether
from detector_grpc.gateway.supervision.backoff import Backoff
from detector_grpc.gateway.supervision.output import LineSplitter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from detector_grpc.gateway.supervision.output import NamedOutput

log = logging.getLogger(__name__)

# By this code our commands say that they were set up wrongly.
SETUP_EXIT_CODE = 2

# So many crashes in a row are a loop, which the last lines explain.
LOOP_CRASHES = 3
LAST_LINES = 20

# What a process wrote is there once it has ended, unless somebody else holds its output open.
_LAST_LINES_WAIT_S = 1.0

_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Program:
    """What a process runs.

    Attributes:
        name: What it is called in the log.
        command: Its command line.
        environment: Variables that it has beyond ours.
        mend: Called, in a thread, before it is started again: what it needs may have suffered.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    mend: Callable[[], None] = lambda: None


class Child:
    """A process, and those that follow it where it crashes.

    Each has a session of its own, so that Ctrl-C reaches only us, who stop all in order.

    Args:
        program: What it runs.
        output: Where its lines go.
        backoff: How long it waits after a crash; None: as usual.
    """

    def __init__(self, program: Program, output: NamedOutput, backoff: Backoff | None = None) -> None:
        self.name = program.name
        self._program = program
        self._writer = output.writer(program.name)
        self._backoff = backoff or Backoff()
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self._retired = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Keeps the process running until it is told to stop.

        Raises:
            SetupInvalid: It said at its first start that it was set up wrongly; to start it again would not help.
        """
        try:
            first = True
            while not self._retired.is_set():
                self._backoff.begin()
                code = await self._run_once()
                if self._retired.is_set():
                    break
                if first and code == SETUP_EXIT_CODE:
                    raise SetupInvalid(self._faults())
                first = False
                await self._wait_after_crash(code)
                await self._mend()
        finally:
            self._ended.set()

    def retire(self) -> None:
        """From now on it is not started again."""
        self._retired.set()

    async def stop(self, within_s: float, *signals: signal.Signals) -> None:
        """Ends it with signals, and where it has not ended within `within_s` seconds, without ceremony."""
        self.retire()
        for number in signals:
            self._signal(number)
        try:
            async with asyncio.timeout(within_s):
                await self._ended.wait()
        except TimeoutError:
            log.warning("does not end, so it is killed", extra={"child": self.name, "waited_s": within_s})
            self.kill()
            await self._ended.wait()

    def kill(self) -> None:
        """Ends it without ceremony."""
        self.retire()
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _run_once(self) -> int:
        """Runs the process to its end, and returns its code; negative for a signal."""
        self._last_lines.clear()
        read_end, write_end = os.pipe()
        reading = asyncio.create_task(self._read(read_end))
        try:
            self._process = await self._start(write_end)
        except OSError as error:
            self._last_lines.append(f"cannot be started: {error}")
            return os.EX_OSERR
        finally:
            os.close(write_end)
        log.info("started", extra={"child": self.name, "pid": self._process.pid})
        try:
            if self._retired.is_set():  # while it was being started, when nobody could send it anything
                self.kill()
            code = await self._process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # whomever it has started itself
            self._process = None
        await asyncio.wait([reading], timeout=_LAST_LINES_WAIT_S)
        reading.cancel()
        return code

    async def _start(self, output: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", tether.__file__, str(os.getpid())),
            *self._program.command,
            env={**os.environ, **self._program.environment},  # noqa: TID251 - handed on as a whole, and not read
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    async def _read(self, descriptor: int) -> None:
        """Hands on line by line what comes out of a pipe, until nobody holds its other end."""
        stream, splitter = asyncio.StreamReader(), LineSplitter()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(descriptor, "rb", buffering=0)
        )
        with contextlib.closing(transport):
            more = True
            while more:
                data = await stream.read(_CHUNK_BYTES)
                for line in splitter.feed(data):
                    self._writer.write_line(line)
                    self._last_lines.append(line.decode(errors="replace"))
                more = bool(data)

    async def _wait_after_crash(self, code: int) -> None:
        wait_s = self._backoff.crash()
        ended = f"ended with code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
        told = {"child": self.name, "crashes": self._backoff.crashes, "wait_s": wait_s}
        log.error("%s and is started again", ended, extra=told)
        if self._backoff.crashes == LOOP_CRASHES:
            log.error("crashes again and again", extra={**told, "last_lines": list(self._last_lines)})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._retired.wait()

    async def _mend(self) -> None:
        try:
            await asyncio.to_thread(self._program.mend)
        except (OSError, SetupInvalid) as error:
            log.error("%s", error, extra={"child": self.name})  # noqa: TRY400 - the message says it all

    def _faults(self) -> list[str]:
        """What it said of its settings."""
        errors = [line.removeprefix("Error: ") for line in self._last_lines if line.startswith("Error: ")]
        return [f"{self.name}: {line}" for line in errors or [*self._last_lines, f"ended with code {SETUP_EXIT_CODE}"]]
