from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.engines import DoublingEngine

from detector_grpc.errors import InferenceFailed, ModelInvalid
from detector_grpc.serving.batching import BatchingSession, batch_sizes

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 30.0


class Callers:
    """Threads that run a session, each with a number of its own."""

    def __init__(self, session: BatchingSession) -> None:
        self._session = session
        self._threads = ThreadPoolExecutor(64)

    def run(self, number: int) -> Future[int]:
        feeds = {"images": np.full((1, 2), number, np.uint8)}
        return self._threads.submit(lambda: int(self._session.run(feeds, ["twice"])[0][0, 0]))

    def close(self) -> None:
        self._threads.shutdown()


@pytest.fixture
def engine() -> DoublingEngine:
    return DoublingEngine()


@pytest.fixture
def session(engine: DoublingEngine) -> Iterator[BatchingSession]:
    """Prepared, and nothing was run since."""
    session = BatchingSession([engine], max_batch=6)
    session.run({"images": np.zeros((1, 2), np.uint8)}, ["twice"])
    engine.sizes.clear()
    while engine.began.acquire(blocking=False):
        pass
    yield session
    engine.gate.set()
    session.close()


@pytest.fixture
def callers(session: BatchingSession) -> Iterator[Callers]:
    callers = Callers(session)
    yield callers
    callers.close()


def wait_until_waiting(session: BatchingSession, count: int) -> None:
    """Until so many pictures wait that no engine has taken."""
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.001)):
        if len(session._batcher._waiting) == count:
            return
        pause.wait(0.001)
    raise AssertionError("they never came")


def busy(engine: DoublingEngine, callers: Callers, number: int) -> Future[int]:
    """A run that has begun and does not end until the gate is opened."""
    engine.gate.clear()
    run = callers.run(number)
    assert engine.began.acquire(timeout=PATIENCE_S)
    return run


def test_a_picture_alone_does_not_wait_for_others(engine: DoublingEngine, callers: Callers) -> None:
    assert callers.run(7).result(PATIENCE_S) == 14
    assert engine.sizes == [1]


def test_what_comes_while_the_engine_works_is_the_next_batch(
    session: BatchingSession, engine: DoublingEngine, callers: Callers
) -> None:
    first = busy(engine, callers, 1)
    others = [callers.run(number) for number in range(2, 6)]
    wait_until_waiting(session, 4)
    engine.gate.set()
    assert first.result(PATIENCE_S) == 2
    assert [other.result(PATIENCE_S) for other in others] == [4, 6, 8, 10]
    assert engine.sizes == [1, 4]


def test_a_batch_is_run_in_the_next_larger_size(
    session: BatchingSession, engine: DoublingEngine, callers: Callers
) -> None:
    busy(engine, callers, 1)
    others = [callers.run(number) for number in range(2, 5)]
    wait_until_waiting(session, 3)
    engine.gate.set()
    assert [other.result(PATIENCE_S) for other in others] == [4, 6, 8]
    assert engine.sizes == [1, 4]


def test_no_batch_is_larger_than_allowed_and_everyone_gets_his_own(
    session: BatchingSession, engine: DoublingEngine, callers: Callers
) -> None:
    busy(engine, callers, 1)
    others = [callers.run(number) for number in range(2, 10)]
    wait_until_waiting(session, 8)
    engine.gate.set()
    assert [other.result(PATIENCE_S) for other in others] == [2 * number for number in range(2, 10)]
    assert engine.sizes == [1, 6, 2]


def test_a_batch_that_fails_fails_for_all_in_it_and_for_nobody_else(
    session: BatchingSession, engine: DoublingEngine, callers: Callers
) -> None:
    engine.failures.extend([None, RuntimeError("out of memory")])
    first = busy(engine, callers, 1)
    others = [callers.run(number) for number in (2, 3)]
    wait_until_waiting(session, 2)
    engine.gate.set()
    assert first.result(PATIENCE_S) == 2
    for other in others:
        with pytest.raises(InferenceFailed):
            other.result(PATIENCE_S)
    assert callers.run(4).result(PATIENCE_S) == 8


def test_a_picture_of_the_wrong_shape_fails_alone(
    session: BatchingSession, engine: DoublingEngine, callers: Callers
) -> None:
    busy(engine, callers, 1)
    good = callers.run(2)
    wait_until_waiting(session, 1)
    bad = callers._threads.submit(session.run, {"images": np.zeros((1, 3), np.uint8)}, ["twice"])
    with pytest.raises(ValueError, match="shape"):
        bad.result(PATIENCE_S)
    engine.gate.set()
    assert good.result(PATIENCE_S) == 4


def test_an_answer_is_the_threads_own_until_it_runs_again(session: BatchingSession, callers: Callers) -> None:
    def answer(number: int) -> np.ndarray:
        return session.run({"images": np.full((1, 2), number, np.uint8)}, ["twice"])[0]

    mine = answer(3)
    assert callers.run(4).result(PATIENCE_S) == 8
    assert mine.tolist() == [[6, 6]]
    assert answer(5) is mine


def test_a_thread_that_has_ended_leaves_its_memory_to_the_next(
    session: BatchingSession, engine: DoublingEngine
) -> None:
    pinned_bytes = []
    for number in range(3):
        with ThreadPoolExecutor(1) as threads:
            answer = threads.submit(session.run, {"images": np.full((1, 2), number, np.uint8)}, ["twice"])
            assert answer.result(PATIENCE_S)[0].tolist() == [[2 * number] * 2]
        pinned_bytes.append(engine.pinned_bytes)
    assert pinned_bytes[0] == pinned_bytes[1] == pinned_bytes[2]


def test_the_first_picture_waits_for_others_until_the_batch_is_full(engine: DoublingEngine) -> None:
    session = BatchingSession([engine], max_batch=2, max_delay_s=3600.0)
    callers = Callers(session)
    both = [callers.run(1), callers.run(2)]
    assert [each.result(PATIENCE_S) for each in both] == [2, 4]
    assert engine.sizes == [1, 2, 2]
    session.close()
    callers.close()


def test_the_first_picture_waits_no_longer_than_it_may(engine: DoublingEngine) -> None:
    session = BatchingSession([engine], max_batch=2, max_delay_s=0.01)
    assert session.run({"images": np.ones((1, 2), np.uint8)}, ["twice"])[0].tolist() == [[2, 2]]
    assert engine.sizes == [1, 2, 1]
    session.close()


def test_every_engine_runs_every_size_before_the_first_answer_and_stays_on_its_thread() -> None:
    engines = [DoublingEngine(), DoublingEngine()]
    session = BatchingSession(engines, max_batch=4)
    session.run({"images": np.ones((1, 2), np.uint8)}, ["twice"])
    session.close()
    assert [engine.sizes[:3] for engine in engines] == [[1, 2, 4], [1, 2, 4]]
    assert [len(engine.threads) for engine in engines] == [1, 1]


def test_engines_work_beside_each_other() -> None:
    engines = [DoublingEngine(), DoublingEngine()]
    session = BatchingSession(engines, max_batch=1)
    session.run({"images": np.ones((1, 2), np.uint8)}, ["twice"])
    for engine in engines:
        engine.gate.clear()
        engine.sizes.clear()
    callers = Callers(session)
    runs = [callers.run(1), callers.run(2)]
    for engine in engines:
        while not engine.sizes:
            assert engine.began.acquire(timeout=PATIENCE_S)
    for engine in engines:
        engine.gate.set()
    assert [run.result(PATIENCE_S) for run in runs] == [2, 4]
    session.close()
    callers.close()


def test_closing_closes_all_engines_after_what_they_run(engine: DoublingEngine) -> None:
    session = BatchingSession([engine], max_batch=2)
    assert session.run({"images": np.ones((1, 2), np.uint8)}, ["twice"])[0][0, 0] == 2
    session.close()
    assert engine.closed.is_set()


def no_rows(_: object, outputs: list[str]) -> list[np.ndarray]:
    return [np.zeros((1, 2), np.float32) for _ in outputs]


def one_picture(feeds: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
    if len(feeds["images"]) > 1:
        raise InferenceFailed
    return no_rows(feeds, outputs)


@pytest.mark.parametrize("run", [no_rows, one_picture])
def test_a_model_that_cannot_be_batched_is_run_on_one_picture_at_a_time(
    engine: DoublingEngine, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    monkeypatch.setattr(engine, "run", run)
    session = BatchingSession([engine], max_batch=4)
    callers = Callers(session)
    assert [callers.run(number).result(PATIENCE_S) for number in range(3)] == [0, 2, 4]
    assert engine.sizes == [1, 1, 1, 1]
    session.close()
    callers.close()


def test_a_model_whose_outputs_grow_with_what_it_finds_is_refused(
    engine: DoublingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(feeds: dict[str, np.ndarray], _: list[str]) -> list[np.ndarray]:
        return [np.zeros((1, int(feeds["images"].any()), 6), np.float32)]

    monkeypatch.setattr(engine, "run", found)
    session = BatchingSession([engine], max_batch=2)
    with pytest.raises(ModelInvalid, match="of a blank picture twice is empty"):
        session.run({"images": np.ones((1, 2), np.uint8)}, ["twice"])
    session.close()
    assert engine.closed.is_set()


def test_a_model_that_cannot_be_run_fails_as_such_and_its_session_can_be_closed(engine: DoublingEngine) -> None:
    before = threading.active_count()
    engine.failures.append(InferenceFailed())
    session = BatchingSession([engine], max_batch=2)
    with pytest.raises(InferenceFailed):
        session.run({"images": np.ones((1, 2), np.uint8)}, ["twice"])
    session.close()
    assert engine.closed.is_set()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("most", "sizes"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8]), (16, [1, 2, 4, 8, 16])]
)
def test_sizes_are_the_powers_of_two_and_the_largest(most: int, sizes: list[int]) -> None:
    assert batch_sizes(most) == sizes
