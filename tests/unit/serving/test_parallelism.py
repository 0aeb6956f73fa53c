"""How many threads a run gets, and what the sessions for that have in common."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from detector_grpc.errors import InferenceFailed, ModelInvalid
from detector_grpc.serving.cpu import BATCH_WORK, WORK, stand_back
from detector_grpc.serving.parallelism import AdaptiveSession, Parallelism
from detector_grpc.serving.session import CPU_PROVIDER, Model, OnnxSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORKERS = 4
THREADS = 3
CHANNELS = 64


def is_wide(parallelism: Parallelism) -> bool:
    with parallelism.place() as wide:
        return wide


@pytest.mark.parametrize(
    ("workers", "most"),
    [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (16, 8)],
)
def test_a_run_is_wide_while_at_most_half_of_the_workers_have_a_picture(workers: int, most: int) -> None:
    assert is_wide(Parallelism(THREADS, workers, lambda: most))
    assert not is_wide(Parallelism(THREADS, workers, lambda: most + 1))


def test_no_more_runs_are_wide_at_once_than_half_of_the_workers_whoever_runs_them() -> None:
    parallelism = Parallelism(THREADS, WORKERS, lambda: 0)
    with parallelism.place() as first, parallelism.place() as second, parallelism.place() as third:
        assert (first, second, third) == (True, True, False)
    assert is_wide(parallelism)


def test_a_run_that_fails_gives_its_place_back() -> None:
    parallelism = Parallelism(THREADS, 2, lambda: 1)

    def fail() -> None:
        with parallelism.place():
            raise InferenceFailed

    with pytest.raises(InferenceFailed):
        fail()
    assert is_wide(parallelism)


@pytest.mark.parametrize(("steps", "wide"), [(WORK, True), (BATCH_WORK, False)])
def test_batch_work_never_takes_the_processors_of_other_work(steps: int, *, wide: bool) -> None:
    parallelism = Parallelism(THREADS, WORKERS, lambda: 0)
    with ThreadPoolExecutor(1, initializer=stand_back, initargs=(steps,)) as thread:
        assert thread.submit(is_wide, parallelism).result() is wide


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """Convolutions, which the runtime lays out anew for the processor, with 2 MiB of weights."""
    random = np.random.default_rng(0)
    kernels = [random.normal(0, 0.05, (CHANNELS, CHANNELS, 3, 3)).astype(np.float32) for _ in range(16)]
    weights = [numpy_helper.from_array(kernel, f"w{number}") for number, kernel in enumerate(kernels)]
    nodes = [
        helper.make_node("Conv", [f"v{number}", f"w{number}"], [f"v{number + 1}"], pads=[1] * 4)
        for number in range(len(weights))
    ]
    shape = [1, CHANNELS, 8, 8]
    values = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("v0", f"v{len(weights)}"))
    given, wanted = values
    graph = helper.make_graph(nodes, "convolutions", [given], [wanted], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return Model(tmp_path / "model.onnx", made.SerializeToString())


def feeds() -> dict[str, Any]:
    return {"v0": np.random.default_rng(1).random((1, CHANNELS, 8, 8), np.float32)}


class Opened:
    """The sessions of ONNX Runtime that were opened, and which of them ran how often."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[int] = []
        self.runs: list[int] = []
        plain = onnxruntime.InferenceSession

        def opening(content: bytes, options: onnxruntime.SessionOptions, **kwargs: object) -> object:
            session = plain(content, options, **kwargs)
            run, threads = session.run, options.intra_op_num_threads

            def running(*arguments: object) -> object:
                self.runs.append(threads)
                return run(*arguments)

            session.run = running
            self.threads.append(threads)
            return session

        monkeypatch.setattr(onnxruntime, "InferenceSession", opening)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    return Opened(monkeypatch)


@pytest.fixture
def open_adaptive(model: Model) -> Iterator[Callable[[Callable[[], int]], AdaptiveSession]]:
    sessions: list[AdaptiveSession] = []

    def opening(in_flight: Callable[[], int]) -> AdaptiveSession:
        sessions.append(AdaptiveSession(model, Parallelism(THREADS, WORKERS, in_flight)))
        return sessions[-1]

    yield opening
    for session in sessions:
        session.close()


def test_each_run_has_the_threads_that_the_load_allows(
    open_adaptive: Callable[..., AdaptiveSession], opened: Opened
) -> None:
    loads = [1, 4, 2]
    session = open_adaptive(iter(loads).__next__)
    for _ in loads:
        session.run(feeds(), ["v16"])
    assert opened.runs == [THREADS, 1, THREADS]


def test_wide_and_narrow_runs_find_what_a_plain_session_finds(
    open_adaptive: Callable[..., AdaptiveSession], model: Model
) -> None:
    expected = OnnxSession(model).run(feeds(), ["v16"])[0]
    for in_flight in (1, WORKERS):
        found = open_adaptive(lambda number=in_flight: number).run(feeds(), ["v16"])[0]
        np.testing.assert_array_equal(found, expected)


def mapped_weights() -> Counter[tuple[str, str]]:
    """How often each piece of each file of weights is mapped into this process, by inode and offset."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()]
    return Counter((line[4], line[2]) for line in lines if "detector-grpc-" in line[-2] and line[-1] == "(deleted)")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_both_sessions_have_the_same_weights_in_memory_and_their_file_is_gone(
    open_adaptive: Callable[..., AdaptiveSession],
) -> None:
    before = mapped_weights()
    open_adaptive(lambda: 1)
    mapped = mapped_weights() - before
    assert len({inode for inode, _ in mapped}) == 1
    assert set(mapped.values()) == {2}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads do not stand back")
def test_threads_of_wide_runs_stand_back_for_the_event_loop_as_workers_do(
    open_adaptive: Callable[..., AdaptiveSession],
) -> None:
    def threads() -> dict[int, int]:
        found = {}
        for thread in (int(task.name) for task in Path("/proc/self/task").iterdir()):
            with suppress(ProcessLookupError):  # it has just ended
                found[thread] = os.getpriority(os.PRIO_PROCESS, thread)
        return found

    before = threads()
    open_adaptive(lambda: 1)
    made = [nice for thread, nice in threads().items() if thread not in before]
    assert len(made) >= THREADS - 1  # the one on which the session was opened may not have ended
    assert set(made) == {before[threading.get_native_id()] + WORK}


def test_where_nothing_can_be_written_each_session_has_weights_of_its_own(
    open_adaptive: Callable[..., AdaptiveSession], opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    session = open_adaptive(lambda: 1)
    assert opened.threads == [1, THREADS]
    session.run(feeds(), ["v16"])
    assert opened.runs == [THREADS]


def test_a_model_that_cannot_be_loaded_is_refused_by_the_name_of_its_own_file(model: Model) -> None:
    broken = model._replace(content=model.content[:1000])
    with pytest.raises(ModelInvalid, match=rf"^{model.path}: ONNX Runtime cannot load it"):
        AdaptiveSession(broken, Parallelism(THREADS, WORKERS, lambda: 1))


def test_a_closed_session_runs_nothing(open_adaptive: Callable[..., AdaptiveSession]) -> None:
    session = open_adaptive(lambda: 1)
    assert session.provider == CPU_PROVIDER
    session.close()
    with pytest.raises(InferenceFailed):
        session.run(feeds(), ["v16"])
