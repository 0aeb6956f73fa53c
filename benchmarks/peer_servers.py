"""This server and its peers as processes that answer, one like the other."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import aiohttp
import psutil
from demo_server import MIB, repository_server

from detector_grpc.client import CallFailed
from detector_grpc.client.bare import BareDetector
from detector_grpc.serving.repository import Sources

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from detector_grpc.bench.load import MakeCall

HERE = Path(__file__).parent
ROOT = HERE.parent
SCRIPTS = HERE / "peers"
ENVIRONMENT = ROOT / ".venv-peers"
REQUIREMENTS = SCRIPTS / "requirements.txt"
OURS = "detector-grpc"
PATIENCE_S = 60.0
CONNECTIONS = 4  # of our client; that of the peers opens as many as it has calls under way

# Of the time that callers wait, what the pictures may take that are under way at a peer with a limit, and what LitServe
# lets a request wait where it is told to. The rest is for the picture itself, and for what is not as fast as it was.
IN_FLIGHT, TIMEOUT = 0.5, 0.8


class Running(NamedTuple):
    """A server that answers.

    Attributes:
        make_call: Calls it.
        processes: All that it consists of now.
        start_s: From starting it to its first answer.
    """

    make_call: MakeCall
    processes: Callable[[], list[psutil.Process]]
    start_s: float

    def cpu_s(self) -> float:
        """CPU time so far, of all processes that it has now."""
        return sum(sum(each.cpu_times()[:2]) for each in self.processes())

    def memory_mib(self) -> float:
        """Memory of all of them; what they share counts once (proportional set size)."""
        return sum(each.memory_full_info().pss for each in self.processes()) / MIB


class Server(NamedTuple):
    """One of those that are compared.

    Attributes:
        settings: Those that matter, for the reader.
        overload_only: Whether it differs from another one only where it is asked for too much.
        run: Runs it until the context ends.
    """

    settings: str
    overload_only: bool
    run: Callable[[], AbstractAsyncContextManager[Running]]


def servers(repository: Path, data: bytes, processors: int, bare_per_s: float, deadline_s: float) -> dict[str, Server]:
    """All of them by name.

    Args:
        repository: The model to serve is its only one.
        data: The picture that callers send.
        processors: Pictures that can be looked at at once.
        bare_per_s: Pictures that a bare loop looks at in a second.
        deadline_s: How long callers wait where there are too many of them.
    """
    python, timeout_s = environment(), TIMEOUT * deadline_s
    most = max(processors, round(IN_FLIGHT * deadline_s * bare_per_s))

    def peer(settings: str, script: str, *flags: str, overload_only: bool = False) -> Server:
        command = [str(python), str(SCRIPTS / script), "--repository", str(repository), *flags]
        return Server(settings, overload_only, lambda: _peer_running(command, data))

    fastapi = "fastapi_server.py", "--threads", str(processors)
    litserve = "litserve_server.py", "--workers", str(processors)
    limit = "--most-in-flight", str(most)
    return {
        OURS: Server(
            f"`detector-grpc serve` as it comes: {processors} workers in one process, with all interceptors, metrics "
            f"and a line in the log for each call; called over gRPC on {CONNECTIONS} connections",
            overload_only=False,
            run=lambda: _ours_running(repository, data),
        ),
        "FastAPI": peer(
            f"one process, a pool of {processors} threads, on which pictures are looked at and answers serialised by "
            "orjson; the body is the picture; no Pydantic; uvicorn with uvloop, httptools and without an access log",
            *fastapi,
        ),
        "FastAPI, observed": peer(
            "the same, with uvicorn's access log, which is its default, and a counter and a histogram of "
            "prometheus_client for each request",
            *fastapi,
            "--observed",
        ),
        "FastAPI, limit": peer(
            f"as FastAPI, and 503 while {most} requests are under way, which take half of what callers wait",
            *fastapi,
            *limit,
            overload_only=True,
        ),
        "LitServe": peer(
            f"{processors} worker processes, each with one thread that looks at pictures, and one in front; the body "
            "is the picture; answers serialised by orjson in the worker; uvicorn with uvloop and httptools",
            *litserve,
        ),
        "LitServe, batches": peer(
            "the same, with batches of at most 8, collected for 5 ms",
            *litserve,
            *("--batch", "8", "--batch-timeout-s", "0.005"),
        ),
        "LitServe, timeout": peer(
            f"as LitServe, with its own `timeout` of {timeout_s:g} s instead of 30",
            *litserve,
            *("--timeout-s", str(timeout_s)),
            overload_only=True,
        ),
        "LitServe, limit": peer("as LitServe, with the limit of FastAPI", *litserve, *limit, overload_only=True),
    }


def environment() -> Path:
    """The interpreter of the peers' environment, which is made if there is none of what is asked for now."""
    python, made_of = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "made-of"
    asked = "".join(file.read_text() for file in (REQUIREMENTS, ROOT / "constraints.txt", ROOT / "pyproject.toml"))
    if not made_of.exists() or made_of.read_text() != asked:
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        constraints = ["--constraint", ROOT / "constraints.txt", "--editable", f"{ROOT}[cpu]"]
        subprocess.run([*install, *constraints], check=True)
        subprocess.run([*install, "--requirement", REQUIREMENTS], check=True)
        made_of.write_text(asked)
    return python


def versions() -> dict[str, str]:
    """What the peers' environment has, by name, as far as it matters; what this server has in common is the same."""
    listed = subprocess.run(
        [environment(), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"],
        check=True,
        capture_output=True,
    )
    installed = {each["name"].lower(): each["version"] for each in json.loads(listed.stdout)}
    named = [line.partition("==")[0] for line in REQUIREMENTS.read_text().splitlines() if "==" in line]
    ours = ["detector-grpc", "grpcio", "numpy", "onnxruntime", "opencv-python-headless"]
    return {name: installed[name] for name in sorted({*named, *ours})}


def bare_loop(repository: Path, picture: Path, processors: int, seconds: float) -> dict[str, float]:
    """Pictures per second, and CPU-ms for each, of a loop on as many threads as processors, and nothing else."""
    command = [environment(), SCRIPTS / "bare_loop.py", "--repository", repository, "--threads", str(processors)]
    done = subprocess.run([*command, "--seconds", str(seconds), picture], check=True, capture_output=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


@asynccontextmanager
async def _ours_running(repository: Path, data: bytes) -> AsyncIterator[Running]:
    """This server, as it comes."""
    (source,) = Sources([repository]).scan()
    started = time.perf_counter()
    with repository_server(repository) as server:
        detector = BareDetector(
            server.address, source.model, source.version, token=None, tls=None, connections=CONNECTIONS
        )
        async with detector:
            await detector.prepare([data], {}, downscale=False)
            yield Running(detector.detect, lambda: [server.process], time.perf_counter() - started)


@asynccontextmanager
async def _peer_running(command: list[str], data: bytes) -> AsyncIterator[Running]:
    """A peer that has answered once."""
    started = time.perf_counter()
    headers = {"content-type": "image/jpeg"}
    with tempfile.TemporaryFile() as log, _peer_process(command, log) as (url, process):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:

            async def call(_: int, timeout_s: float) -> CallFailed | None:
                try:
                    async with session.post(url, data=data, timeout=aiohttp.ClientTimeout(timeout_s)) as response:
                        await response.read()
                        return None if response.status == 200 else CallFailed(f"HTTP {response.status}", "")
                except TimeoutError:
                    return CallFailed("DEADLINE_EXCEEDED", "")
                except aiohttp.ClientError as error:
                    return CallFailed("UNAVAILABLE", str(error))

            while (failure := await call(0, PATIENCE_S)) is not None:
                if process.poll() is not None or time.perf_counter() - started > PATIENCE_S:
                    log.seek(0)
                    raise SystemExit(f"{' '.join(command)} does not answer: {failure}\n{log.read().decode()}")
                await asyncio.sleep(0.05)
            yield Running(call, lambda: _with_children(process.pid), time.perf_counter() - started)


@contextmanager
def _peer_process(command: list[str], log: BinaryIO) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A peer that starts, and where it will answer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}/predict", process
    finally:
        for each in _with_children(process.pid) if process.poll() is None else []:
            each.kill()  # some take ten seconds to stop, and have nothing to lose
        process.wait()


def _with_children(pid: int) -> list[psutil.Process]:
    """A process and all that it has started."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]
