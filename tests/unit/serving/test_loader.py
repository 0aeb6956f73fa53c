"""What becomes of a version that is loaded or unloaded, and of those beside it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest
from support.loading import TIMEOUT_S, WORKERS, Loading, session_of
from support.sessions import FakeSession

from detector_grpc.errors import (
    InvalidRequest,
    ModelInvalid,
    ModelNotFound,
    ShuttingDown,
    VersionFailed,
    VersionNotFound,
    VersionNotHeld,
)
from detector_grpc.serving.registry import ModelState
from detector_grpc.serving.session import Model, OnnxFile, OnnxSession
from detector_grpc.serving.warm_up import ROUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOADING, READY, FAILED = ModelState.LOADING, ModelState.READY, ModelState.FAILED
V1 = ("yolo", "v1")
V2 = ("yolo", "v2")


@pytest.fixture
def held(tmp_path: Path) -> Loading:
    """v1 and v2 of a model, not loaded yet."""
    return Loading(tmp_path, [V1, V2])


@pytest.fixture
async def ready(held: Loading) -> Loading:
    """The same, loaded."""
    await held.loader.load_all()
    held.states = held.states[-1:]
    return held


class Gate:
    """Files that are opened when the gate is."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self._open = threading.Event()

    def __call__(self, path: Path) -> FakeSession:
        content = path.read_text()
        self.began.set()
        assert self._open.wait(TIMEOUT_S)
        return FakeSession(digest=content)

    async def wait(self) -> None:
        """Until a file waits."""
        assert await asyncio.to_thread(self.began.wait, TIMEOUT_S)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open()  # or a test that fails would hang


def broken(path: Path) -> FakeSession:
    raise ModelInvalid(f"{path}: broken")


def surprising(path: Path) -> FakeSession:
    raise RuntimeError(f"surprise in {path}")


async def turn() -> None:
    """Lets everything that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


class TestStart:
    async def test_tells_every_change(self, held: Loading, gate: Gate) -> None:
        held.open_session = lambda path: gate(path) if path.parent.name == "v2" else session_of(path)
        starting = asyncio.create_task(held.loader.load_all())
        await held.until(lambda: len(held.states) == 2)
        gate.open()
        await starting
        # One for each version, and one for the end of the start.
        loaded = {V1: READY, V2: READY}
        assert held.states == [{V1: LOADING, V2: LOADING}, {V1: READY, V2: LOADING}, loaded, loaded]

    async def test_a_version_that_fails_leaves_the_others_alone(self, held: Loading) -> None:
        held.open_session = lambda path: broken(path) if path.parent.name == "v2" else session_of(path)
        await held.loader.load_all()
        assert held.states[-1] == {V1: READY, V2: FAILED}

    async def test_an_unexpected_error_is_logged_and_fails_only_its_version(
        self, held: Loading, caplog: pytest.LogCaptureFixture
    ) -> None:
        held.open_session = lambda path: surprising(path) if path.parent.name == "v2" else session_of(path)
        await held.loader.load_all()
        assert held.states[-1] == {V1: READY, V2: FAILED}
        assert held.registry.find(*V2).failure == "unexpected error; the log has its traceback"
        assert "surprise" in caplog.text

    async def test_a_missing_file_is_a_failure_that_names_what_told_of_it(self, held: Loading) -> None:
        source = held.registry.find(*V1).source
        source.path.unlink()
        await held.loader.load_all()
        assert held.registry.find(*V1).failure == f"{source.origin}: there is no file {source.path}"

    async def test_a_model_that_is_no_detector_is_a_failure_that_names_its_file(self, held: Loading) -> None:
        source = held.registry.find(*V1).source
        source.manifest_path.write_text("class_names: [a, b, c]")
        await held.loader.load_all()
        assert held.registry.find(*V1).failure.startswith(f"{source.path}: manifest.yaml has 3 class names")

    async def test_a_version_is_told_of_while_another_still_loads(self, held: Loading, gate: Gate) -> None:
        held.open_session = lambda path: gate(path) if path.parent.name == "v2" else session_of(path)
        starting = asyncio.create_task(held.loader.load_all())
        await held.until(lambda: held.states[-1] == {V1: READY, V2: LOADING})  # loading is done on threads
        assert not held.registry.serving
        held.registry.ready(*V1)
        gate.open()
        await starting
        assert held.registry.serving


class TestLoad:
    async def test_a_version_that_is_not_held_is_loading_then_ready(self, ready: Loading) -> None:
        ready.write("yolo", "v3", "third")
        version = await ready.loader.load("yolo", "v3")
        assert ready.states[1:] == [{V1: READY, V2: READY, ("yolo", "v3"): state} for state in (LOADING, READY)]
        assert version is ready.registry.find("yolo", "v3")
        assert ready.digest(version="v3") == "third"

    async def test_a_new_model_is_found_too_and_changes_no_default(self, ready: Loading) -> None:
        ready.write("codes", "v1")
        await ready.loader.load("codes", "v1")
        assert ready.registry.ready("codes", "v1")[0].model == "codes"
        assert ready.registry.ready("", "")[0].model == "yolo"

    async def test_a_version_that_failed_is_tried_again_though_its_files_are_the_same(self, held: Loading) -> None:
        held.open_session = broken
        await held.loader.load_all()
        held.states = held.states[-1:]
        held.open_session = session_of
        await held.loader.load(*V1)
        assert [states[V1] for states in held.states] == [FAILED, LOADING, READY]

    async def test_nothing_is_opened_where_no_file_has_changed(self, ready: Loading) -> None:
        before = len(ready.opened)
        version = await ready.loader.load(*V1)
        assert version.state is READY
        assert len(ready.opened) == before
        assert len(ready.states) == 1

    @pytest.mark.parametrize("part", ["model.onnx", "manifest.yaml", "model.onnx.data", "weights/one.bin"])
    async def test_a_version_is_replaced_where_any_of_its_files_has_changed(self, ready: Loading, part: str) -> None:
        old = ready.registry.find(*V1).loaded
        path = ready.folder / "yolo" / "v1" / part
        path.parent.mkdir(exist_ok=True)
        path.write_text("# changed")
        await ready.loader.load(*V1)
        assert ready.registry.find(*V1).loaded is not old
        assert [states[V1] for states in ready.states] == [READY, READY]
        assert [session.closed for session in ready.opened].count(True) == 1

    async def test_what_it_replaces_goes_on_until_it_is_ready_and_is_closed_when_its_calls_have_ended(
        self, ready: Loading, gate: Gate
    ) -> None:
        _, old = ready.registry.ready(*V1)
        (session,) = (each for each in ready.opened if each is old.pipeline._session)
        ready.in_use = [old]
        ready.write(*V1, "second")
        ready.open_session = gate
        loading = asyncio.create_task(ready.loader.load(*V1))
        await gate.wait()
        assert ready.digest() == "first"
        gate.open()
        await ready.until(lambda: ready.digest() == "second")
        await turn()
        assert not session.closed
        assert not loading.done()
        await ready.release()
        await loading
        assert session.closed

    @pytest.mark.parametrize("opens", [broken, surprising])
    async def test_a_failure_leaves_nothing_of_a_version_that_was_not_held(
        self, ready: Loading, opens: Callable[[Path], FakeSession]
    ) -> None:
        ready.write("codes", "v1")
        ready.open_session = opens
        with pytest.raises(VersionFailed):
            await ready.loader.load("codes", "v1")
        assert ready.states[-1] == {V1: READY, V2: READY}
        with pytest.raises(ModelNotFound):
            ready.registry.find("codes", "v1")

    @pytest.mark.parametrize("opens", [broken, surprising])
    async def test_a_failure_changes_nothing_of_a_version_that_answers(
        self, ready: Loading, opens: Callable[[Path], FakeSession]
    ) -> None:
        ready.write(*V1, "second")
        ready.open_session = opens
        with pytest.raises(VersionFailed):
            await ready.loader.load(*V1)
        assert len(ready.states) == 1
        assert ready.digest() == "first"
        assert not any(session.closed for session in ready.opened)
        ready.open_session = session_of
        await ready.loader.load(*V1)  # the files are still others than those that answer
        assert ready.digest() == "second"

    async def test_a_failure_of_one_that_had_failed_leaves_it_failed_with_the_new_cause(self, held: Loading) -> None:
        held.open_session = surprising
        await held.loader.load_all()
        held.open_session = broken
        with pytest.raises(VersionFailed):
            await held.loader.load(*V1)
        assert held.states[-1][V1] is FAILED
        assert held.registry.find(*V1).failure.endswith("broken")

    async def test_the_operator_is_told_why_and_the_log_has_it(
        self, ready: Loading, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = ready.write("yolo", "v3")
        ready.open_session = broken
        with pytest.raises(VersionFailed) as caught:
            await ready.loader.load("yolo", "v3")
        assert caught.value.message == f'version "v3" of model "yolo" could not be loaded: {path}: broken'
        (record,) = (record for record in caplog.records if record.message == "version failed")
        assert (record.model, record.version, record.cause) == ("yolo", "v3", f"{path}: broken")

    async def test_what_was_opened_is_closed_where_it_turns_out_to_be_no_detector(self, ready: Loading) -> None:
        ready.write("yolo", "v3")
        ready.open_session = lambda _: FakeSession({"output0": np.zeros((1, 7), np.float32)})
        with pytest.raises(VersionFailed):
            await ready.loader.load("yolo", "v3")
        assert ready.opened[-1].closed

    async def test_a_version_that_is_nowhere_is_not_found(self, ready: Loading) -> None:
        with pytest.raises(VersionNotFound) as caught:
            await ready.loader.load("yolo", "v3")
        assert str(ready.folder / "yolo" / "v3" / "model.onnx") in caught.value.message
        assert ready.states == [{V1: READY, V2: READY}]

    async def test_a_version_whose_folder_is_gone_goes_on_answering(self, ready: Loading) -> None:
        path = ready.registry.find(*V1).source.path
        path.unlink()
        with pytest.raises(VersionNotFound):
            await ready.loader.load(*V1)
        assert ready.digest() == "first"

    async def test_a_model_has_run_as_often_at_once_as_it_will_be_before_it_is_ready(self, ready: Loading) -> None:
        together = threading.Barrier(WORKERS)
        session = FakeSession()
        plain = session.run

        def run(*arguments: object) -> object:
            if len(session.fed) > 1:  # the first finds out what the model is, the next one what a run takes
                together.wait(TIMEOUT_S)
            return plain(*arguments)

        session.run = run  # type: ignore[method-assign]
        ready.open_session = lambda _: session
        ready.write("yolo", "v3")
        await ready.loader.load("yolo", "v3")
        assert len(session.fed) == 2 + ROUNDS * WORKERS

    async def test_a_model_that_cannot_be_run_by_the_workers_is_a_failure(self, ready: Loading) -> None:
        session = FakeSession()
        plain = session.run

        def run(*arguments: object) -> object:
            if session.fed:
                raise MemoryError
            return plain(*arguments)

        session.run = run  # type: ignore[method-assign]
        ready.open_session = lambda _: session
        ready.write("yolo", "v3")
        with pytest.raises(VersionFailed):
            await ready.loader.load("yolo", "v3")
        assert session.closed


class TestUnload:
    async def test_a_version_is_not_held_at_once_and_closed_when_its_calls_have_ended(self, ready: Loading) -> None:
        _, loaded = ready.registry.ready(*V1)
        ready.in_use = [loaded]
        unloading = asyncio.create_task(ready.loader.unload(*V1))
        await ready.until(lambda: ready.states[-1] == {V2: READY})
        with pytest.raises(VersionNotHeld):
            ready.registry.ready("", "")
        await turn()
        assert not unloading.done()
        assert not any(session.closed for session in ready.opened)
        await ready.release()
        await unloading
        assert [session for session in ready.opened if session.closed] == [loaded.pipeline._session]

    async def test_a_version_that_failed_is_forgotten(self, held: Loading) -> None:
        held.open_session = broken
        await held.loader.load_all()
        await held.loader.unload(*V1)
        assert held.states[-1] == {V2: FAILED}

    async def test_the_last_version_of_a_model_is_missed_as_a_version(self, ready: Loading) -> None:
        ready.write("codes", "v1")
        await ready.loader.load("codes", "v1")
        await ready.loader.unload("codes", "v1")
        with pytest.raises(VersionNotHeld):
            ready.registry.ready("codes", "v1")

    async def test_what_is_not_held_cannot_be_unloaded(self, ready: Loading) -> None:
        with pytest.raises(VersionNotHeld):
            await ready.loader.unload("yolo", "v3")
        with pytest.raises(ModelNotFound):
            await ready.loader.unload("other", "v1")

    async def test_a_version_can_be_loaded_again(self, ready: Loading) -> None:
        await ready.loader.unload(*V1)
        await ready.loader.load(*V1)
        assert ready.states[-1] == {V1: READY, V2: READY}


@pytest.mark.parametrize("name", ["", "..", "../..", "a/b", "/etc", "v1\n", ".v1", "v" * 64, "v1\0"])
@pytest.mark.parametrize("order", ["load", "unload"])
async def test_what_is_no_name_never_becomes_a_path(ready: Loading, order: str, name: str) -> None:
    for names in ((name, "v1"), ("yolo", name)):
        with pytest.raises(InvalidRequest) as caught:
            await getattr(ready.loader, order)(*names)
        assert [violation.field for violation in caught.value.violations] == [("model", "version")[names.index(name)]]


class TestOrder:
    async def test_loads_of_one_version_at_the_same_time_are_one(self, ready: Loading) -> None:
        ready.write("yolo", "v3")
        before = len(ready.opened)
        loaded = await asyncio.gather(*(ready.loader.load("yolo", "v3") for _ in range(5)))
        assert len(ready.opened) == before + 1
        assert len(set(map(id, loaded))) == 1

    async def test_a_file_that_is_written_while_it_is_read_is_refused_and_not_missed_by_the_next_load(
        self, ready: Loading, gate: Gate
    ) -> None:
        ready.write("yolo", "v3", "early")
        ready.open_session = gate
        first = asyncio.create_task(ready.loader.load("yolo", "v3"))
        await gate.wait()
        ready.write("yolo", "v3", "late")
        second = asyncio.create_task(ready.loader.load("yolo", "v3"))
        gate.open()
        with pytest.raises(VersionFailed, match="have changed while they were read"):
            await first
        await second
        assert ready.digest(version="v3") == "late"
        assert [session.closed for session in ready.opened[-2:]] == [True, False]

    async def test_an_unload_that_is_asked_for_during_a_load_comes_after_it(self, ready: Loading, gate: Gate) -> None:
        ready.write("yolo", "v3")
        ready.open_session = gate
        loading = asyncio.create_task(ready.loader.load("yolo", "v3"))
        await gate.wait()
        unloading = asyncio.create_task(ready.loader.unload("yolo", "v3"))
        gate.open()
        await asyncio.gather(loading, unloading)
        assert [states.get(("yolo", "v3")) for states in ready.states] == [None, LOADING, READY, None]
        assert ready.opened[-1].closed

    async def test_a_load_that_is_asked_for_during_an_unload_comes_after_it(self, ready: Loading) -> None:
        _, loaded = ready.registry.ready(*V1)
        ready.in_use = [loaded]
        unloading = asyncio.create_task(ready.loader.unload(*V1))
        await ready.until(lambda: V1 not in ready.states[-1])
        loading = asyncio.create_task(ready.loader.load(*V1))
        await turn()
        assert V1 not in ready.states[-1]
        await ready.release()
        await asyncio.gather(unloading, loading)
        assert ready.registry.ready(*V1)[1] is not loaded

    async def test_versions_do_not_wait_for_each_other(self, ready: Loading, gate: Gate) -> None:
        ready.write("yolo", "slow")
        ready.write("yolo", "quick")
        ready.open_session = lambda path: gate(path) if path.parent.name == "slow" else session_of(path)
        slow = asyncio.create_task(ready.loader.load("yolo", "slow"))
        await gate.wait()
        await ready.loader.load("yolo", "quick")
        await ready.loader.unload("yolo", "quick")
        await ready.loader.unload(*V2)
        assert not slow.done()
        gate.open()
        await slow

    async def test_an_order_is_carried_out_though_who_gave_it_has_left(self, ready: Loading, gate: Gate) -> None:
        ready.write("yolo", "v3")
        ready.open_session = gate
        loading = asyncio.create_task(ready.loader.load("yolo", "v3"))
        await gate.wait()
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        gate.open()
        await ready.until(lambda: ready.states[-1].get(("yolo", "v3")) is READY)

    async def test_an_order_that_fails_after_who_gave_it_has_left_is_no_error_of_asyncio(
        self, ready: Loading, gate: Gate
    ) -> None:
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

        def fail(path: Path) -> FakeSession:
            gate(path)
            return broken(path)

        ready.write("yolo", "v3")
        ready.open_session = fail
        loading = asyncio.create_task(ready.loader.load("yolo", "v3"))
        await gate.wait()
        loading.cancel()
        gate.open()
        await ready.until(lambda: ready.states[-1] == {V1: READY, V2: READY} and len(ready.states) > 1)
        await turn()
        del loading
        gc.collect()
        assert not ready.loader._orders
        assert complaints == []

    async def test_no_lock_stays_behind(self, ready: Loading) -> None:
        await ready.loader.load(*V1)
        await ready.loader.unload(*V1)
        assert not ready.loader._turns
        assert not ready.loader._orders


class TestClosing:
    async def test_gives_up_what_is_in_progress_and_refuses_the_rest(self, ready: Loading, gate: Gate) -> None:
        ready.in_use = [ready.registry.ready(*V2)[1]]
        ready.write("yolo", "v3")
        ready.open_session = gate
        orders = [
            asyncio.create_task(order)
            for order in (
                ready.loader.load("yolo", "v3"),
                ready.loader.unload("yolo", "v3"),
                ready.loader.unload(*V2),
            )
        ]
        await gate.wait()
        await ready.until(lambda: V2 not in ready.states[-1])
        ready.loader.close()
        results = await asyncio.wait_for(asyncio.gather(*orders, return_exceptions=True), TIMEOUT_S)
        assert {type(result) for result in results} == {ShuttingDown}
        with pytest.raises(ShuttingDown):
            await ready.loader.load(*V1)
        assert ready.digest() == "first"
        gate.open()

    async def test_ends_the_start(self, held: Loading, gate: Gate) -> None:
        held.open_session = gate
        starting = asyncio.create_task(held.loader.load_all())
        await gate.wait()
        held.loader.close()
        with pytest.raises(ShuttingDown):
            await asyncio.wait_for(starting, TIMEOUT_S)
        gate.open()


class TestMemory:
    """The models themselves, ONNX Runtime's, which cycles of references would keep for long."""

    @pytest.fixture(autouse=True)
    def no_collection(self) -> Iterator[None]:
        Watched.models.clear()
        gc.disable()
        yield
        gc.enable()

    async def test_a_model_that_is_unloaded_is_gone_whoever_still_looks_at_its_version(
        self, ready: Loading, make_onnx: Callable[..., Path]
    ) -> None:
        make_onnx(name="yolo/v3/model.onnx")
        ready.open_session = WatchedFile  # type: ignore[assignment]
        version = await ready.loader.load("yolo", "v3")
        assert [model() is None for model in Watched.models] == [True, False]  # one to look at, one to answer
        await ready.loader.unload("yolo", "v3")
        assert version.loaded is not None
        assert [model() for model in Watched.models] == [None, None]

    async def test_a_model_that_is_no_detector_is_gone_when_the_error_is(
        self, ready: Loading, make_onnx: Callable[..., Path]
    ) -> None:
        make_onnx(name="yolo/v3/model.onnx", output=(1, 7))
        ready.open_session = WatchedFile  # type: ignore[assignment]
        with pytest.raises(VersionFailed):
            await ready.loader.load("yolo", "v3")
        assert [model() for model in Watched.models] == [None]

    async def test_a_model_that_does_not_pass_the_gate_is_gone_when_the_error_is(
        self, ready: Loading, make_onnx: Callable[..., Path]
    ) -> None:
        golden = make_onnx(name="yolo/v3/model.onnx").parent / "golden"
        golden.mkdir()
        (golden / "expected.json").write_text("{}")
        ready.open_session = WatchedFile  # type: ignore[assignment]
        with pytest.raises(VersionFailed):
            await ready.loader.load("yolo", "v3")
        assert [model() for model in Watched.models] == [None, None]


class Watched(OnnxSession):
    models: ClassVar[list[weakref.ref[object]]] = []

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.models.append(weakref.ref(self._session._sess))


class WatchedFile(OnnxFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path, Watched)
        Watched.models.append(weakref.ref(self._session._session._sess))
