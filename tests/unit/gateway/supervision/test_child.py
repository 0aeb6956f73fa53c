"""A child is started again when it crashes, is heard, and ends when it is told to, however it takes that."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.supervision.backoff import Backoff
from detector_grpc.gateway.supervision.child import Child, Program
from detector_grpc.gateway.supervision.output import NamedOutput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

PATIENCE_S = 30.0
SLEEPS = "import time; time.sleep(600)"
SAYS_BYE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit("bye"))
print("here")
time.sleep(600)
"""
IS_DEAF = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(600)
"""
HAS_CHILD = f"""
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", {SLEEPS!r}]).pid)
time.sleep(600)
"""
CRASHES_THEN_FINDS_FAULTS = """
import os, sys
print("here")
try:
    os.mkdir(os.environ["FOLDER"])
except FileExistsError:
    sys.exit(2)
sys.exit(1)
"""
SUPERVISES = f"""
import asyncio, sys
from detector_grpc.gateway.supervision.child import Child, Program
from detector_grpc.gateway.supervision.output import NamedOutput

async def main():
    output = NamedOutput(1, coloured=False)
    program = Program("child", (sys.executable, "-c", {IS_DEAF!r}))
    await asyncio.gather(*(Child(program, output).run() for _ in range(3)))

asyncio.run(main())
"""


class Log:
    """A file to which an output writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self.output = NamedOutput(self._file.fileno(), coloured=False)

    def lines(self) -> list[str]:
        return self._path.read_text(encoding="utf-8").split("\n")[:-1]

    async def wait_for(self, line: str, times: int = 1) -> None:
        await wait_until(lambda: self.lines().count(line) >= times)

    def close(self) -> None:
        self.output.close(PATIENCE_S)
        self._file.close()


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what other processes do sets no event
            await asyncio.sleep(0.005)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "log")
    yield log
    log.close()


def python(code: str, name: str = "child", **environment: str) -> Program:
    return Program(name, (sys.executable, "-u", "-c", code), environment)


def quick() -> Backoff:
    return Backoff(first_s=0.01, most_s=0.01)


class Running:
    """Children that run until the test ends."""

    def __init__(self) -> None:
        self._tasks: list[tuple[Child, asyncio.Task[None]]] = []

    def start(self, child: Child) -> asyncio.Task[None]:
        task = asyncio.create_task(child.run())
        self._tasks.append((child, task))
        return task

    async def close(self) -> None:
        for child, task in self._tasks:
            child.kill()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    running = Running()
    yield running
    await running.close()


async def test_what_a_child_writes_is_said_under_its_name(log: Log, running: Running) -> None:
    code = "import sys, os; print('out', os.environ['WORD']); print('err', file=sys.stderr); sys.stdout.write('no end')"
    child = Child(python(code, "server-0", WORD="word"), log.output)
    running.start(child)
    await log.wait_for("server-0 | no end")
    assert log.lines()[:3] == ["server-0 | out word", "server-0 | err", "server-0 | no end"]


async def test_what_a_child_needs_is_mended_before_it_is_started_again(
    log: Log, running: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    times = 0

    def mend() -> None:
        nonlocal times
        times += 1
        (tmp_path / "needed").write_text(str(times))
        if times > 1:
            raise SetupInvalid(["the disk is full"])

    program = python("import os; print(os.path.exists(os.environ['FILE']))", FILE=str(tmp_path / "needed"))
    running.start(Child(dataclasses.replace(program, mend=mend), log.output, quick()))
    await log.wait_for("child    | True", times=3)
    assert log.lines()[:2] == ["child    | False", "child    | True"]
    assert "the disk is full" in caplog.text


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 9)", "os._exit(0)"])
async def test_a_child_that_ends_is_started_again(
    log: Log, running: Running, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    child = Child(python(f"import os; print('here'); {end}"), log.output, quick())
    running.start(child)
    await log.wait_for("child    | here", times=4)
    said = {"os._exit(3)": "with code 3", "os.kill(os.getpid(), 9)": "by SIGKILL", "os._exit(0)": "with code 0"}[end]
    assert said in caplog.messages[0]


async def test_a_loop_of_crashes_is_named_once_with_the_last_lines(
    log: Log, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    code = "for number in range(100): print('line', number)\nraise SystemExit('no such model')"
    child = Child(python(code), log.output, quick())
    running.start(child)
    await log.wait_for("child    | no such model", times=5)
    loops: list[Any] = [record for record in caplog.records if record.message == "crashes again and again"]
    assert [(record.child, record.crashes) for record in loops] == [("child", 3)]
    assert loops[0].last_lines == [*(f"line {number}" for number in range(81, 100)), "no such model"]


async def test_a_crash_after_a_good_run_begins_a_new_row(
    log: Log, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    # What the clock says when the back-off is made, and then at each start and each crash: the third one ran well.
    times_s = itertools.chain([0, 0, 1, 10, 11, 20, 80, 90, 91], itertools.count(100))
    backoff = Backoff(first_s=0.01, most_s=1, well_s=60, clock=lambda: next(times_s))
    running.start(Child(python("print('here')"), log.output, backoff))
    await log.wait_for("child    | here", times=5)
    waits_s = [record.wait_s for record in caplog.records if hasattr(record, "wait_s")]
    assert waits_s[:4] == [0.01, 0.02, 0.01, 0.02]


async def test_a_child_that_was_set_up_wrongly_is_not_started_again_and_its_faults_are_ours(
    log: Log, running: Running
) -> None:
    code = "import sys; print('{}'); print('Error: A: is wrong'); print('Error: B: is wrong'); sys.exit(2)"
    with pytest.raises(SetupInvalid) as caught:
        await running.start(Child(python(code), log.output, quick()))
    assert caught.value.faults == ("child: A: is wrong", "child: B: is wrong")


async def test_a_child_that_has_run_is_started_again_though_it_says_that_its_setup_is_wrong(
    log: Log, running: Running, tmp_path: Path
) -> None:
    program = python(CRASHES_THEN_FINDS_FAULTS, FOLDER=str(tmp_path / "new"))
    task = running.start(Child(program, log.output, quick()))
    await log.wait_for("child    | here", times=4)
    assert not task.done()


async def test_a_command_that_is_not_there_crashes_and_is_tried_again(
    log: Log, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    running.start(Child(Program("envoy", ("/nowhere/envoy",)), log.output, quick()))
    await wait_until(lambda: "crashes again and again" in caplog.messages)
    (loop,) = [record for record in caplog.records if hasattr(record, "last_lines")]
    assert loop.last_lines == ["cannot run /nowhere/envoy: No such file or directory"]


async def test_stop_ends_a_child_and_nobody_starts_it_again(log: Log, running: Running) -> None:
    child = Child(python(SAYS_BYE), log.output, quick())
    task = running.start(child)
    await log.wait_for("child    | here")
    await child.stop(PATIENCE_S, signal.SIGTERM)
    await task
    await log.wait_for("child    | bye")
    assert log.lines() == ["child    | here", "child    | bye"]


async def test_a_child_that_does_not_hear_sigterm_is_killed(
    log: Log, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    child = Child(python(IS_DEAF), log.output)
    task = running.start(child)
    await wait_until(lambda: bool(log.lines()))
    began = time.monotonic()
    await child.stop(0.3, signal.SIGTERM)
    await task
    assert 0.3 <= time.monotonic() - began < 20
    assert "does not end, so it is killed" in caplog.messages


async def test_a_child_that_is_stopped_while_it_waits_is_not_started(log: Log, running: Running) -> None:
    child = Child(python("print('here')"), log.output, Backoff(first_s=60))
    task = running.start(child)
    await log.wait_for("child    | here")
    await child.stop(PATIENCE_S, signal.SIGTERM)
    await task
    assert log.lines() == ["child    | here"]


async def test_a_child_that_is_stopped_while_it_starts_ends(log: Log, running: Running) -> None:
    for turns in range(6):  # of the loop, in which starting makes its steps
        child = Child(python(SLEEPS), log.output)
        task = running.start(child)
        for _ in range(turns):
            await asyncio.sleep(0)
        await child.stop(PATIENCE_S, signal.SIGTERM)
        await task


async def test_whom_a_child_has_started_ends_with_it(log: Log, running: Running) -> None:
    child = Child(python(HAS_CHILD), log.output)
    task = running.start(child)
    await wait_until(lambda: bool(log.lines()))
    grandchild = psutil.Process(int(log.lines()[0].split("|")[1]))
    child.kill()
    await task
    await wait_until(lambda: not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE)


async def test_a_child_has_a_session_of_its_own_so_that_ctrl_c_is_ours(log: Log, running: Running) -> None:
    running.start(Child(python("import os; print(os.getsid(0) == os.getpid())"), log.output))
    await log.wait_for("child    | True")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends processes whose parent is gone")
async def test_no_child_outlives_a_supervisor_that_was_killed() -> None:
    pipe = asyncio.subprocess.PIPE
    supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", SUPERVISES, stdout=pipe)
    assert supervisor.stdout is not None
    children = [psutil.Process(int((await supervisor.stdout.readline()).split(b"|")[1])) for _ in range(3)]
    supervisor.kill()
    await supervisor.wait()
    await wait_until(lambda: not any(child.is_running() for child in children))
