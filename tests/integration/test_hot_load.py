"""Versions come and go over the admin port of a server that goes on answering."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from support.calls import DETECT, NOT_SERVING, SERVING, connected, encoded_request, failure, wait_until
from support.metrics import read_metrics
from support.onnx_files import Box, tiny_onnx
from support.pictures import png
from support.rich_errors import detail_of, info_of, leak_in, reason_of, violations_of
from support.servers import server_process
from support.streams import LOSSLESS, Stream, config, frame

from detector_grpc._gen.detector.v1.model_service_pb2 import (
    MODEL_STATE_FAILED,
    MODEL_STATE_LOADING,
    MODEL_STATE_READY,
    ListModelsRequest,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.calls import Client
    from support.servers import ServerProcess

    from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectRequest

PICTURE = png(np.zeros((64, 64, 3), np.uint8))
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
V2 = "models/tiny/versions/v2"
UNLOAD = "/detector.v1.ModelAdminService/UnloadModelVersion"
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
NO_MODEL = b"version https://git-lfs.github.com/spec/v1"


class Running(NamedTuple):
    """A server, a client of each of its ports, and its repository."""

    server: ServerProcess
    client: Client
    admin: Client
    repository: Path

    def write(self, version: str, confidence: float = 0.9, cost: int = 0, model: str = "tiny") -> Path:
        """A file that is told by the confidence of its one box."""
        path = self.repository / model / version / "model.onnx"
        return tiny_onnx(path, boxes=[Box((16, 8, 48, 40), confidence=confidence)], cost=cost)

    def answers(self, version: str = "v1", model: str = "") -> float:
        """The confidence that the version answers with."""
        (found,) = self.client.detect(request(version, model)).detections
        return round(found.confidence, 3)

    def states(self) -> dict[str, int]:
        """State of each version of the model."""
        answer = self.client.models.ListModels(ListModelsRequest())
        return {each.version: each.state for each in answer.versions if each.model == "tiny"}


def request(version: str = "v1", model: str = "") -> DetectRequest:
    return encoded_request(PICTURE, model=model, version=version)


@contextmanager
def started(repository: Path, **settings: object) -> Iterator[Running]:
    """A server whose versions are loaded."""
    with (
        server_process(repository=repository, models_default_model="tiny", **settings) as server,
        connected(server.address) as client,
        connected(server.admin_address) as admin,
    ):
        client.wait_for_status(SERVING)
        yield Running(server, client, admin, repository)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A server that holds version v1 of a model, which is the default."""
    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
    with started(tmp_path) as made:
        yield made


class TestLoad:
    def test_answers_once_the_version_is_ready_and_describes_it(self, running: Running) -> None:
        running.write("v2", confidence=0.5)
        assert reason_of(failure(lambda: running.answers("v2"))) == "MODEL_VERSION_NOT_HELD"

        loaded = running.admin.load("v2")

        assert running.answers("v2") == 0.5
        assert running.answers("v1") == 0.9
        assert (loaded.version.model, loaded.version.version) == ("tiny", "v2")
        assert loaded.version.state == MODEL_STATE_READY
        assert loaded.version.digest == running.client.detect(request("v2")).model_digest
        assert not loaded.is_default
        assert running.admin.load("v1").is_default

    def test_finds_a_new_model_and_changes_no_default(self, running: Running) -> None:
        running.write("v1", confidence=0.5, model="other")

        running.admin.load("v1", "other")

        assert running.answers("v1", "other") == 0.5
        assert running.answers("", "") == 0.9

    def test_of_a_version_that_is_ready_replaces_it_once_its_file_has_changed(self, running: Running) -> None:
        first = running.admin.load("v1").version.digest
        assert running.admin.load("v1").version.digest == first
        running.write("v1", confidence=0.5)
        assert running.answers("v1") == 0.9

        second = running.admin.load("v1").version.digest

        assert running.answers("v1") == 0.5
        assert second != first
        assert len(running.server.log("version ready", version="v1")) == 2

    def test_of_a_new_manifest_alone_replaces_it_too(self, running: Running) -> None:
        (running.repository / "tiny" / "v1" / "manifest.yaml").write_text("class_names: [cat, dog]")

        running.admin.load("v1")

        assert running.client.detect(request()).detections[0].class_name == "cat"

    def test_of_a_mounted_file_and_of_a_default_path_that_has_come_to_be(self, tmp_path: Path) -> None:
        mounted = tmp_path / "mounted.onnx"
        tiny_onnx(tmp_path / "repository" / "tiny" / "v2" / "model.onnx")
        with started(tmp_path / "repository", MODEL_V1_PATH=mounted) as running:
            assert running.states() == {"v1": MODEL_STATE_FAILED, "v2": MODEL_STATE_READY}
            tiny_onnx(mounted)

            assert running.admin.load("v1").version.state == MODEL_STATE_READY
            assert running.answers("v1") == 0.9

    def test_disturbs_no_call_of_the_version_that_it_replaces(self, running: Running) -> None:
        seen: list[float] = []
        stop = threading.Event()

        def call() -> None:
            with connected(running.server.address) as client:
                while not stop.is_set():
                    seen.append(round(client.detect(request()).detections[0].confidence, 3))

        callers = [threading.Thread(target=call) for _ in range(3)]
        for caller in callers:
            caller.start()
        confidences = [0.5, 0.6, 0.7, 0.8]
        for confidence in confidences:
            running.write("v1", confidence)
            running.admin.load("v1")
            done = len(seen)
            wait_until(lambda done=done: len(seen) > done + 10, "more calls")
        stop.set()
        for caller in callers:
            caller.join()

        assert set(seen) == {0.9, *confidences}
        assert seen[-1] == confidences[-1]


class TestFailedLoad:
    def test_of_a_version_that_was_not_held_leaves_nothing_and_says_why(self, running: Running) -> None:
        path = running.write("v2")
        path.write_bytes(NO_MODEL)

        error = failure(lambda: running.admin.load("v2"))

        assert (error.code(), reason_of(error)) == (FAILED_PRECONDITION, "MODEL_VERSION_FAILED")
        assert f"{path}: ONNX Runtime cannot load it" in error.details()
        assert "Traceback" not in error.details()
        assert info_of(error).metadata == {"model": "tiny", "version": "v2"}
        assert detail_of(error, error_details_pb2.ResourceInfo).resource_name == V2
        assert running.states() == {"v1": MODEL_STATE_READY}
        assert reason_of(failure(lambda: running.answers("v2"))) == "MODEL_VERSION_NOT_HELD"
        assert failure(lambda: running.client.status(V2)).code() is grpc.StatusCode.NOT_FOUND
        running.write("v2")
        assert running.admin.load("v2").version.state == MODEL_STATE_READY

    def test_of_a_version_that_answers_leaves_it_answering(self, running: Running) -> None:
        running.write("v1").write_bytes(NO_MODEL)

        for _ in range(2):
            error = failure(lambda: running.admin.load("v1"))

            assert (error.code(), reason_of(error)) == (FAILED_PRECONDITION, "MODEL_VERSION_FAILED")
            assert running.answers("v1") == 0.9
            assert running.states() == {"v1": MODEL_STATE_READY}

    def test_is_told_to_callers_without_the_cause(self, tmp_path: Path) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
        broken = tmp_path / "tiny" / "v2" / "model.onnx"
        broken.parent.mkdir()
        broken.write_bytes(NO_MODEL)
        with started(tmp_path) as running:
            to_admin = failure(lambda: running.admin.load("v2"))
            to_caller = failure(lambda: running.answers("v2"))

        assert str(broken) in to_admin.details()
        assert not leak_in(to_caller)
        assert reason_of(to_caller) == reason_of(to_admin) == "MODEL_VERSION_FAILED"

    def test_of_a_version_that_is_nowhere_names_where_it_was_looked_for(self, running: Running) -> None:
        error = failure(lambda: running.admin.load("v9"))

        assert (error.code(), reason_of(error)) == (grpc.StatusCode.NOT_FOUND, "MODEL_VERSION_NOT_FOUND")
        assert str(running.repository / "tiny" / "v9" / "model.onnx") in error.details()

    @pytest.mark.parametrize("name", ["", "../..", "..", "v1/../v1", "/etc/passwd", "v1\n", "v" * 64, "ä"])
    def test_of_what_is_no_name_is_refused(self, running: Running, name: str) -> None:
        for order in (running.admin.load, running.admin.unload):
            error = failure(lambda order=order: order(name, "a b"))

            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert violations_of(error).keys() == {"model", "version"}


class TestUnload:
    def test_refuses_calls_from_then_on_and_says_that_it_was_the_default(self, running: Running) -> None:
        running.write("v2", confidence=0.5)
        running.admin.load("v2")

        assert not running.admin.unload("v2").was_default
        assert running.admin.unload("v1").was_default

        for version in ("v1", "v2", ""):
            error = failure(lambda version=version: running.answers(version))
            assert (error.code(), reason_of(error)) == (FAILED_PRECONDITION, "MODEL_VERSION_NOT_HELD")
        assert running.states() == {}

    def test_of_what_is_not_held_is_refused(self, running: Running) -> None:
        assert reason_of(failure(lambda: running.admin.unload("v9"))) == "MODEL_VERSION_NOT_HELD"
        assert reason_of(failure(lambda: running.admin.unload("v1", "nobody"))) == "MODEL_NOT_FOUND"

    def test_waits_for_the_calls_that_the_version_has_taken(self, tmp_path: Path, half_second: int) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
        tiny_onnx(tmp_path / "tiny" / "v2" / "model.onnx", cost=half_second)
        with started(tmp_path, runtime_workers=1) as running:
            calls = [running.client.start_detect(request("v2")) for _ in range(3)]
            wait_until(lambda: read_metrics(running.server).value("object_detection_queue_depth") == 2, "two that wait")
            unloading = running.admin.start_unload("v2")
            running.server.wait_for_log("version unloaded")

            error = failure(lambda: running.answers("v2"))

            assert reason_of(error) == "MODEL_VERSION_NOT_HELD"
            assert [len(call.result().detections) for call in calls] == [1] * 3
            unloading.result()
            unloaded_at = running.server.wait_for_log("call", method=UNLOAD)["time"]
            answered_at = [call["time"] for call in running.server.log("call", method=DETECT, code="OK")]
            assert len(answered_at) == 3
            assert max(answered_at) <= unloaded_at

    def test_lets_a_version_that_failed_be_forgotten(self, tmp_path: Path) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
        tiny_onnx(tmp_path / "tiny" / "v2" / "model.onnx", output_shape=(1, 8))
        with started(tmp_path) as running:
            assert running.states()["v2"] == MODEL_STATE_FAILED
            running.admin.unload("v2")
            assert running.states() == {"v1": MODEL_STATE_READY}


class TestStream:
    """A stream ends with the file that answers it, and its caller is told where to go on."""

    def test_goes_on_with_the_new_file_when_its_version_is_replaced(self, running: Running) -> None:
        with Stream(running.client) as stream:
            stream.send(config(LOSSLESS), *(frame(number, PICTURE) for number in range(1, 21)))
            ready = stream.ready()
            first = stream.result()
            running.write("v1", confidence=0.5)
            loaded = running.admin.load("v1")
            rest = list(stream.call)
        (drain,) = (answer.drain for answer in rest if answer.WhichOneof("message") == "drain")
        results = [first, *(answer.result for answer in rest if answer.WhichOneof("message") == "result")]
        with Stream(running.client) as after:
            after.send(config(LOSSLESS, resume_token=drain.resume_token), frame(drain.last_frame_id + 1, PICTURE))
            again = after.ready()
            (found,) = after.result().detections.detections

        assert [result.frame_id for result in results] == list(range(1, drain.last_frame_id + 1))
        assert {round(result.detections.detections[0].confidence, 3) for result in results} == {0.9}
        assert again.model_digest == loaded.version.digest != ready.model_digest
        assert round(found.confidence, 3) == 0.5

    def test_cannot_go_on_where_its_version_is_unloaded(self, running: Running) -> None:
        running.write("v2")
        running.admin.load("v2")
        with Stream(running.client) as stream, Stream(running.client) as other:
            other.send(config(LOSSLESS, version="v1"))
            other.ready()
            stream.send(config(LOSSLESS, version="v2"), frame(1, PICTURE))
            stream.ready()
            assert stream.result().detections.detections
            running.admin.unload("v2")
            (drain,) = (answer.drain for answer in stream.call if answer.WhichOneof("message") == "drain")
            with Stream(running.client) as after:
                after.send(config(LOSSLESS, resume_token=drain.resume_token))
                error = failure(after.answer)
            other.send(frame(1, PICTURE))
            assert other.result().detections.detections

        assert (error.code(), reason_of(error)) == (FAILED_PRECONDITION, "MODEL_VERSION_NOT_HELD")


class TestHealth:
    def test_of_a_version_follows_its_loads_and_that_of_the_server_stays(
        self, running: Running, half_second: int
    ) -> None:
        seen: dict[str, list[int]] = {"": [], V2: []}

        def watch(name: str) -> None:
            with connected(running.server.address) as client:
                try:
                    for update in client.watch(name):
                        seen[name].append(update.status)
                except grpc.RpcError:
                    pass  # the server is gone

        watching = [threading.Thread(target=watch, args=(name,)) for name in seen]
        for thread in watching:
            thread.start()
        wait_until(lambda: all(seen.values()), "first updates")
        running.write("v2", cost=half_second)
        running.admin.load("v2")
        running.write("v2", cost=half_second, confidence=0.5)
        running.admin.load("v2")
        running.admin.unload("v2")
        assert failure(lambda: running.client.status(V2)).code() is grpc.StatusCode.NOT_FOUND
        wait_until(lambda: seen[V2][-1] == UNKNOWN, "the last update")
        running.server.send(signal.SIGINT)
        for thread in watching:
            thread.join()

        assert seen[V2][:4] == [UNKNOWN, NOT_SERVING, SERVING, UNKNOWN]
        assert seen[""] == [SERVING, NOT_SERVING]

    def test_of_the_server_needs_a_version_that_answers(self, running: Running) -> None:
        running.admin.unload("v1")
        assert running.client.status() == NOT_SERVING
        running.admin.load("v1")
        assert running.client.status() == SERVING

    def test_of_a_server_that_started_with_nothing_begins_with_the_first_version(self, tmp_path: Path) -> None:
        with (
            server_process(repository=tmp_path, models_default_model="tiny") as server,
            connected(server.address) as client,
            connected(server.admin_address) as admin,
        ):
            running = Running(server, client, admin, tmp_path)
            running.write("v1")
            admin.load("v1")
            client.wait_for_status(SERVING)
            assert running.answers("v1") == 0.9


class TestRaces:
    def test_loads_of_one_version_at_the_same_time_are_one(self, running: Running) -> None:
        running.write("v2")
        calls = [running.admin.start_load("v2") for _ in range(8)]

        assert len({call.result().version.digest for call in calls}) == 1
        assert len(running.server.log("version ready", version="v2")) == 1

    def test_an_unload_during_a_load_comes_after_it(self, running: Running, half_second: int) -> None:
        running.write("v2", cost=half_second)
        loading = running.admin.start_load("v2")
        wait_until(lambda: running.states().get("v2") == MODEL_STATE_LOADING, "a load in progress")
        assert reason_of(failure(lambda: running.answers("v2"))) == "MODEL_VERSION_LOADING"

        running.admin.unload("v2")

        assert loading.result().version.state == MODEL_STATE_READY
        assert running.states() == {"v1": MODEL_STATE_READY}

    def test_a_load_goes_on_though_its_caller_has_left(self, running: Running, half_second: int) -> None:
        running.write("v2", cost=half_second)

        loading = running.admin.start_load("v2")
        wait_until(lambda: running.states().get("v2") == MODEL_STATE_LOADING, "a load in progress")

        loading.cancel()

        running.client.wait_for_status(SERVING, V2)
        assert running.answers("v2") == 0.9

    def test_a_server_that_stops_gives_a_load_up_and_says_so(self, running: Running, half_second: int) -> None:
        running.write("v2", cost=2 * half_second)
        loading = running.admin.start_load("v2")
        wait_until(lambda: running.states().get("v2") == MODEL_STATE_LOADING, "a load in progress")

        running.server.send(signal.SIGTERM)
        error = failure(loading.result)

        assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        assert running.server.wait() == 0
        assert "Traceback" not in running.server.text
        assert not running.server.log("version failed")

    def test_a_server_that_drains_takes_no_orders_but_answers_calls(self, tmp_path: Path) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
        with started(tmp_path, server_drain_wait_s=30) as running:
            running.server.send(signal.SIGTERM)
            running.server.wait_for_log("draining")

            assert failure(lambda: running.admin.load("v1")).code() is grpc.StatusCode.UNAVAILABLE
            assert running.answers("v1") == 0.9
            running.server.send(signal.SIGINT)
            assert running.server.wait() == 0


class TestPolling:
    def test_keeps_a_server_in_step_with_its_repository(self, tmp_path: Path) -> None:
        tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
        with started(tmp_path, models_poll_s=0.05) as running:
            running.write("v2", confidence=0.5)
            running.server.wait_for_log("version ready", version="v2")
            assert running.answers("v2") == 0.5

            new = tiny_onnx(tmp_path / "aside.onnx", boxes=[Box((16, 8, 48, 40), confidence=0.6)])
            new.replace(tmp_path / "tiny" / "v1" / "model.onnx")
            wait_until(lambda: running.answers("v1") == 0.6, "the new file of v1")

            shutil.rmtree(tmp_path / "tiny" / "v2")
            running.client.wait_for_status(UNKNOWN, V2)
            assert reason_of(failure(lambda: running.answers("v2"))) == "MODEL_VERSION_NOT_HELD"
            assert not running.server.log("version failed")

            running.server.send(signal.SIGINT)
            assert running.server.wait() == 0
        assert "Traceback" not in running.server.text

    def test_leaves_alone_a_file_that_is_being_copied(self, tmp_path: Path) -> None:
        whole = tiny_onnx(tmp_path / "whole.onnx", boxes=[Box((16, 8, 48, 40), confidence=0.5)]).read_bytes()
        path = tiny_onnx(tmp_path / "repository" / "tiny" / "v1" / "model.onnx")
        step = len(whole) // 30
        with started(tmp_path / "repository", models_poll_s=1) as running, path.open("wb", buffering=0) as copy:
            for start in range(0, len(whole), step):
                copy.write(whole[start : start + step])
                time.sleep(0.1)  # so that it takes longer than some looks, as a copy does
                assert running.answers("v1") == 0.9
            wait_until(lambda: running.answers("v1") == 0.5, "the whole file")
            assert not running.server.log("version failed")


def test_metrics_of_a_new_version_exist_at_zero_and_its_provider_only_while_it_answers(running: Running) -> None:
    provider = {"model": "tiny", "version": "v2", "provider": "CPUExecutionProvider"}
    running.write("v2")
    running.admin.load("v2")

    loaded = read_metrics(running.server)
    running.admin.unload("v2")
    unloaded = read_metrics(running.server)

    for status in ("ok", "internal", "failed_precondition"):
        labels = {"model": "tiny", "version": "v2", "status": status}
        assert loaded.value("object_detection_requests_total", **labels) == 0
    assert loaded.value("object_detection_request_duration_seconds_count", model="tiny", version="v2") == 0
    assert loaded.value("object_detection_inference_duration_seconds_count", model="tiny", version="v2") == 0
    assert loaded.value("object_detection_execution_provider", **provider) == 1
    assert [each["version"] for each in unloaded.labels("object_detection_execution_provider")] == ["v1"]


def test_the_log_says_what_was_ordered_and_by_whom(running: Running) -> None:
    running.write("v2")
    running.admin.load("v2", metadata=(("x-request-id", "order"),))

    line = running.server.wait_for_log("call", request_id="order")

    assert line["method"] == "/detector.v1.ModelAdminService/LoadModelVersion"
    assert (line["code"], line["caller"], line["model"], line["version"]) == ("OK", "anonymous", "tiny", "v2")


def test_the_public_port_takes_no_orders_and_the_admin_port_no_pictures(running: Running) -> None:
    for call in (
        lambda: running.client.load("v1"),
        lambda: running.client.unload("v1"),
        lambda: running.admin.detect(request()),
    ):
        assert failure(call).code() is grpc.StatusCode.UNIMPLEMENTED
    assert running.answers("v1") == 0.9
