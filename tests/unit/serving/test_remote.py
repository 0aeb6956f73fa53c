from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.engines import DoublingEngine
from support.virtual_time import VirtualTime, in_virtual_time

from detector_grpc.errors import EngineGone, InferenceFailed, ModelInvalid
from detector_grpc.serving.remote import wire
from detector_grpc.serving.remote.server import EngineServer
from detector_grpc.serving.remote.session import STARTED_S, RemoteSession, until_engine, why_no_engine
from detector_grpc.serving.rows import ArrayShape
from detector_grpc.serving.session import CPU_PROVIDER, Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Serve = Callable[[], EngineServer]

MODEL = Model(Path("/models/doubling.onnx"), b"a model")


class Engines:
    """What an engine server opens."""

    def __init__(self) -> None:
        self.opened: list[Model] = []
        self.engine = DoublingEngine()
        self.refuse: Exception | None = None

    def __call__(self, model: Model) -> list[DoublingEngine]:
        self.opened.append(model)
        if self.refuse:
            raise self.refuse
        self.engine = DoublingEngine()
        return [self.engine]


@pytest.fixture
def engines() -> Engines:
    return Engines()


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "engine.sock"


@pytest.fixture
def serve(socket_path: Path, engines: Engines) -> Iterator[Callable[[], EngineServer]]:
    """Servers to be closed by the test, but for the last."""
    last = []

    def start() -> EngineServer:
        last[:] = [EngineServer(socket_path, engines, max_batch=4, max_delay_s=0.0)]
        return last[0]

    yield start
    last[0].close()


@pytest.fixture
def server(serve: Callable[[], EngineServer]) -> EngineServer:
    return serve()


@pytest.fixture
def session(socket_path: Path) -> Iterator[RemoteSession]:
    session = RemoteSession(socket_path, CPU_PROVIDER, MODEL)
    yield session
    session.close()


def run(session: RemoteSession, number: int) -> list[list[float]]:
    return session.run({"images": np.full((1, 2), number, np.uint8)}, ["twice"])[0].tolist()


@pytest.mark.usefixtures("server")
def test_pictures_of_all_threads_and_sessions_are_answered(
    session: RemoteSession, socket_path: Path, engines: Engines
) -> None:
    other = RemoteSession(socket_path, CPU_PROVIDER, MODEL)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: run((session, other)[number % 2], number), range(100)))
    assert answers == [[[2 * number] * 2] for number in range(100)]
    assert engines.opened == [MODEL]  # once, for both
    other.close()


def test_pictures_of_several_sessions_make_one_batch(
    server: EngineServer, session: RemoteSession, socket_path: Path, engines: Engines
) -> None:
    other = RemoteSession(socket_path, CPU_PROVIDER, MODEL)
    assert run(session, 1) == [[2, 2]]
    engine = engines.engine
    engine.gate.clear()
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(run, session, 1)
        while engine.sizes[-1:] != [1] or len(engine.sizes) < 5:
            assert engine.began.acquire(timeout=30)
        rest = [threads.submit(run, each, 3) for each in (session, other, other)]
        (held,) = server._held.values()
        pause = threading.Event()
        while len(held.model.batcher._waiting) < 3:
            pause.wait(0.001)
        engine.gate.set()
        assert [each.result(30) for each in (first, *rest)] == [[[2, 2]], [[6, 6]], [[6, 6]], [[6, 6]]]
    assert engine.sizes == [1, 2, 4, 1, 1, 4]
    other.close()


@pytest.mark.usefixtures("server")
def test_a_model_is_freed_when_the_last_session_that_has_it_is_closed(socket_path: Path, engines: Engines) -> None:
    sessions = [RemoteSession(socket_path, CPU_PROVIDER, MODEL) for _ in range(2)]
    for session in sessions:
        run(session, 1)
    sessions[0].close()
    assert run(sessions[1], 2) == [[4, 4]]
    assert not engines.engine.closed.is_set()
    sessions[1].close()
    assert engines.engine.closed.wait(30)


@pytest.mark.usefixtures("server")
def test_an_engine_that_refuses_a_model_says_why(session: RemoteSession, engines: Engines) -> None:
    engines.refuse = ModelInvalid("it has no batches")
    with pytest.raises(ModelInvalid, match="it has no batches"):
        run(session, 1)
    engines.refuse = None
    assert run(session, 1) == [[2, 2]]


@pytest.mark.usefixtures("server")
def test_what_is_wrong_with_a_model_is_logged_once_however_many_ask_for_it(
    session: RemoteSession, socket_path: Path, engines: Engines, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(cause: str) -> list[str]:
        caplog.clear()
        engines.refuse = ModelInvalid(cause)
        other = RemoteSession(socket_path, CPU_PROVIDER, MODEL)
        with ThreadPoolExecutor(4) as threads:
            asking = [threads.submit(run, each, 1) for each in (session, other) * 4]
        other.close()
        assert {each.exception().message for each in asking} == {cause}
        return [record.cause for record in caplog.records if record.message == "model refused"]

    assert refused("no GPU") == ["no GPU"]
    assert refused("no GPU") == []
    assert refused("no batches") == ["no batches"]
    engines.refuse = None
    assert run(session, 1) == [[2, 2]]


def test_who_only_looks_whether_there_is_an_engine_is_not_spoken_of(
    serve: Serve, socket_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server = serve()
    for _ in range(3):
        assert why_no_engine(socket_path) == ""
    with wire.connect(str(socket_path)) as stranger:
        stranger.send(b"nonsense")
    session = RemoteSession(socket_path, CPU_PROVIDER, MODEL)
    run(session, 1)  # they were taken in turn, so all those before have been
    session.close()
    server.close()
    serve()
    said = [record.message for record in caplog.records if "model" not in record.message]
    assert said == ["a server left in the middle of a word"]


def test_whoever_waits_for_an_engine_says_so_once_and_goes_on_when_there_is_one(
    serve: Serve, socket_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def wait(time: VirtualTime) -> None:
        waiting = asyncio.create_task(until_engine(socket_path))
        await asyncio.sleep(STARTED_S / 2)
        assert caplog.records == []
        await asyncio.sleep(3600)
        assert not waiting.done()
        serve()
        began = time.now
        await waiting
        assert time.now - began < 1

    in_virtual_time(wait)
    ((level, said),) = [(record.levelname, record.message) for record in caplog.records]
    assert level == "WARNING"
    assert said.startswith(f"no engine process listens at {socket_path}: No such file or directory")


@pytest.mark.usefixtures("server")
def test_a_batch_that_fails_fails_its_pictures_alone(session: RemoteSession, engines: Engines) -> None:
    run(session, 1)
    engines.engine.failures.append(RuntimeError("secret"))
    with pytest.raises(InferenceFailed):
        run(session, 1)
    assert run(session, 2) == [[4, 4]]


def test_a_thread_that_has_ended_leaves_its_connection_to_the_next(
    server: EngineServer, session: RemoteSession
) -> None:
    for number in range(3):
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(run, session, number).result(30) == [[2 * number] * 2]
        assert len(server._connections) == 1


def test_all_threads_go_on_with_the_next_engine_though_others_have_left_connections_to_the_last(
    serve: Serve, socket_path: Path
) -> None:
    first = serve()
    session = RemoteSession(socket_path, CPU_PROVIDER, MODEL)
    together = threading.Barrier(4)

    def run_beside_others(number: int) -> list[list[float]]:
        together.wait(30)
        return run(session, number)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(run_beside_others, range(4)))
    first.close()
    serve()
    with pytest.raises(EngineGone):
        run(session, 1)
    assert run(session, 3) == [[6, 6]]
    session.close()


def test_without_an_engine_the_operator_is_told_where_there_should_be_one(socket_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=rf"no engine process listens at {socket_path}: No such file"):
        RemoteSession(socket_path, CPU_PROVIDER, MODEL, patience_s=0.0)


def test_a_session_waits_for_an_engine_that_is_being_started(serve: Serve, socket_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        opening = threads.submit(RemoteSession, socket_path, CPU_PROVIDER, MODEL)
        serve()
        session = opening.result(30)
    assert run(session, 1) == [[2, 2]]
    session.close()


def test_a_session_goes_on_with_the_next_engine(serve: Serve, socket_path: Path, engines: Engines) -> None:
    first = serve()
    session = RemoteSession(socket_path, CPU_PROVIDER, MODEL)
    assert run(session, 1) == [[2, 2]]
    first.close()
    with pytest.raises(EngineGone):
        run(session, 1)
    serve()
    assert run(session, 3) == [[6, 6]]
    assert len(engines.opened) == 2
    session.close()


@pytest.mark.usefixtures("server")
def test_a_stranger_who_talks_nonsense_harms_nobody(session: RemoteSession, socket_path: Path) -> None:
    for words in (b"", b"nonsense", b"[]"):
        with wire.connect(str(socket_path)) as stranger:
            if words:
                stranger.send(words)
    with wire.connect(str(socket_path)) as stranger:
        wire.send_row(stranger, wire.memory_file(100))
    assert run(session, 1) == [[2, 2]]


@pytest.mark.usefixtures("server")
def test_two_engines_do_not_listen_at_the_same_place(socket_path: Path) -> None:
    with pytest.raises(OSError, match="another engine process listens there"):
        wire.listen(socket_path)


def test_a_file_that_is_no_socket_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("dear")
    with pytest.raises(OSError, match="Address already in use"):
        wire.listen(path)
    assert path.read_text() == "dear"


@pytest.mark.usefixtures("server")
def test_nobody_else_may_connect(socket_path: Path) -> None:
    assert socket_path.stat().st_mode & 0o777 == 0o600


def test_a_server_that_comes_while_too_many_files_are_open_waits(
    server: EngineServer, session: RemoteSession, socket_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))  # one more file may be open: the caller's end
    try:
        with wire.connect(str(socket_path)):
            pause = threading.Event()
            while "Too many open files" not in str([vars(record) for record in caplog.records]):
                assert server._accepting.is_alive()
                pause.wait(0.001)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert run(session, 1) == [[2, 2]]


@pytest.mark.usefixtures("server")
def test_a_connection_keeps_no_file_open_but_its_row(session: RemoteSession) -> None:
    def memory_files() -> int:
        links = [file.readlink() for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
        return sum("memfd:" in str(link) for link in links)

    run(session, 1)
    gc.collect()  # what other tests have left
    before = memory_files()
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(run, session, 2).result(30) == [[4, 4]]
    assert memory_files() - before == 2  # one at each end


class Stranger:
    """Says what a server says, whenever he likes."""

    def __init__(self, socket_path: Path) -> None:
        self.connection = wire.connect(str(socket_path))
        feeds = (("images", ArrayShape((1, 2), "uint8")),)
        wire.send_opening(self.connection, wire.Opening("", "/", feeds, ("twice",)), memory_of(MODEL.content))
        wire.send_row(self.connection, memory_of(bytes(wire.receive_shapes(self.connection).size_bytes)))

    def run(self) -> None:
        self.connection.send(wire.RUN)


def memory_of(content: bytes) -> int:
    file = wire.memory_file(len(content))
    os.pwrite(file, content, 0)
    return file


@pytest.mark.usefixtures("server")
def test_memory_stays_pinned_while_the_engine_is_at_work_in_it_however_its_owner_leaves(
    socket_path: Path, engines: Engines
) -> None:
    stranger = Stranger(socket_path)
    engine = engines.engine
    runs = len(engine.sizes)
    stranger.run()
    assert stranger.connection.recv(1, socket.MSG_PEEK) == wire.DONE
    pinned_bytes = engine.pinned_bytes
    engine.gate.clear()
    stranger.run()
    while len(engine.sizes) < runs + 2:
        assert engine.began.acquire(timeout=30)
    stranger.connection.close()  # has not read the answer, which the engine's end is told as an error
    assert not engine.closed.wait(0.1)
    assert engine.pinned_bytes == pinned_bytes > 0
    engine.gate.set()
    assert engine.closed.wait(30)
    assert engine.pinned_bytes == 0


@pytest.mark.usefixtures("server")
def test_a_stranger_who_reads_no_answers_keeps_nobody_waiting(session: RemoteSession, socket_path: Path) -> None:
    stranger = Stranger(socket_path)
    stranger.connection.settimeout(10)
    for _ in range(1000):  # more answers than fit in
        stranger.run()
    assert run(session, 2) == [[4, 4]]
    stranger.connection.close()
