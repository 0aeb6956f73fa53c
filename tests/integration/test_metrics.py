"""What a server tells Prometheus and its log about calls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import grpc
import numpy as np
import pytest
from support.calls import SERVING, connected, encoded_request, failure
from support.metrics import read_metrics, settled_metrics
from support.onnx_files import tiny_onnx
from support.pictures import png
from support.servers import server_process

from detector_grpc._gen.detector.v1.detection_pb2 import DetectOptions
from detector_grpc.interceptors.metrics import BUCKETS_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.calls import Client
    from support.servers import ServerProcess

    from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectRequest

GOOD = png(np.zeros((64, 64, 3), np.uint8))
V1 = {"model": "tiny", "version": "v1"}
NOBODY = {"model": "", "version": ""}
HOSTILE = 'tiny"} 1\nevil_total{x="\x1b[31m'

STATUSES = {code.name.lower() for code in grpc.StatusCode}
STAGES = {"queue", "decode", "preprocess", "inference", "postprocess"}
SHED = {"would_be_late", "queue_full", "expired", "cancelled", "too_many_requests"}


class Case(NamedTuple):
    """A request, and the one series that counts it."""

    request: DetectRequest
    labels: dict[str, str]
    status: str


CASES = {
    "good": Case(encoded_request(GOOD), V1, "ok"),
    "no picture": Case(encoded_request(b"no picture"), V1, "invalid_argument"),
    "wrong option": Case(encoded_request(GOOD, options=DetectOptions(confidence_threshold=2)), V1, "invalid_argument"),
    "unknown class": Case(encoded_request(GOOD, options=DetectOptions(classes=["x"])), V1, "invalid_argument"),
    "unknown model": Case(encoded_request(GOOD, model="nobody"), NOBODY, "not_found"),
    "unknown version": Case(encoded_request(GOOD, version="v9"), NOBODY, "failed_precondition"),
    "hostile names": Case(encoded_request(GOOD, model=HOSTILE, version=HOSTILE), NOBODY, "not_found"),
}


@pytest.fixture
def server_and_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Client]]:
    repository = tmp_path_factory.mktemp("repository")
    tiny_onnx(repository / "tiny" / "v1" / "model.onnx")
    tiny_onnx(repository / "tiny" / "v2" / "model.onnx")
    settings = {"limits_max_message_bytes": 100_000, "models_default_model": "tiny"}
    with server_process(repository=repository, **settings) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        yield server, client


class TestSeries:
    def test_exist_at_zero_before_the_first_call(self, server_and_client: tuple[ServerProcess, Client]) -> None:
        metrics = read_metrics(server_and_client[0])

        for version in ("v1", "v2"):
            labels = {"model": "tiny", "version": version}
            for status in STATUSES:
                assert metrics.value("object_detection_requests_total", **labels, status=status) == 0
            for name in ("request", "inference"):
                assert metrics.value(f"object_detection_{name}_duration_seconds_count", **labels) == 0
            provider = {"provider": "CPUExecutionProvider"}
            assert metrics.value("object_detection_execution_provider", **labels, **provider) == 1
        for stage in STAGES:
            assert metrics.value("object_detection_stage_duration_seconds_count", stage=stage) == 0
        for reason in SHED:
            assert metrics.value("object_detection_shed_total", reason=reason) == 0
        assert metrics.value("object_detection_queue_depth") == 0
        assert metrics.value("process_resident_memory_bytes") > 0

    def test_are_the_same_in_every_process(self, server_and_client: tuple[ServerProcess, Client]) -> None:
        metrics = read_metrics(server_and_client[0])

        bounds = {each["le"] for each in metrics.labels("object_detection_request_duration_seconds_bucket")}
        assert bounds == {*map(str, BUCKETS_S), "+Inf"}

    def test_hold_no_name_that_the_server_does_not_know(self, server_and_client: tuple[ServerProcess, Client]) -> None:
        server, client = server_and_client
        for number in range(20):
            failure(lambda number=number: client.detect(encoded_request(GOOD, model=f"made-up-{number}")))
            failure(lambda number=number: client.detect(encoded_request(GOOD, version=f"made-up-{number}")))

        labels = settled_metrics(server, client).labels("object_detection_requests_total")

        assert {(each["model"], each["version"]) for each in labels} == {("tiny", "v1"), ("tiny", "v2"), ("", "")}


@pytest.mark.parametrize("name", CASES)
def test_a_call_is_counted_once_where_it_belongs(name: str, server_and_client: tuple[ServerProcess, Client]) -> None:
    server, client = server_and_client
    case = CASES[name]

    call = client.start_detect(case.request)
    code = call.code()
    metrics = settled_metrics(server, client)

    assert code.name.lower() == case.status
    assert metrics.value("object_detection_requests_total", **case.labels, status=case.status) == 1
    assert metrics.total("object_detection_requests_total") == 1
    runs = 1 if case.status == "ok" else 0
    assert metrics.total("object_detection_inference_duration_seconds_count") == runs
    for stage in STAGES:
        assert metrics.value("object_detection_stage_duration_seconds_count", stage=stage) == runs
    answered_by_a_version = 1 if case.labels is V1 else 0
    assert metrics.total("object_detection_request_duration_seconds_count") == answered_by_a_version


def test_a_message_that_is_refused_unread_is_counted(server_and_client: tuple[ServerProcess, Client]) -> None:
    server, client = server_and_client
    failure(lambda: client.send_bytes(bytes(200_000)))
    failure(lambda: client.send_bytes(b"\xff"))

    metrics = settled_metrics(server, client)

    assert metrics.value("object_detection_requests_total", **NOBODY, status="resource_exhausted") == 1
    assert metrics.value("object_detection_requests_total", **NOBODY, status="invalid_argument") == 1
    assert metrics.total("object_detection_requests_total") == 2


def test_durations_add_up(server_and_client: tuple[ServerProcess, Client]) -> None:
    server, client = server_and_client
    for _ in range(5):
        client.detect(encoded_request(GOOD))

    metrics = settled_metrics(server, client)

    total = metrics.value("object_detection_request_duration_seconds_sum", **V1)
    inference = metrics.value("object_detection_inference_duration_seconds_sum", **V1)
    stages = metrics.total("object_detection_stage_duration_seconds_sum")
    assert metrics.value("object_detection_request_duration_seconds_count", **V1) == 5
    assert metrics.value("object_detection_stage_duration_seconds_sum", stage="inference") == inference
    assert 0 < inference < stages <= total


class TestLog:
    def test_has_one_line_for_every_call(self, server_and_client: tuple[ServerProcess, Client]) -> None:
        server, client = server_and_client
        for name, case in CASES.items():
            client.start_detect(case.request, (("x-request-id", name.replace(" ", "-")),)).code()
        settled_metrics(server, client)

        for name, case in CASES.items():
            (line,) = server.log("call", request_id=name.replace(" ", "-"))
            told = {key: line[key] for key in ("method", "code", "caller", "model", "version")}
            assert told == {
                "method": "/detector.v1.DetectorService/Detect",
                "code": case.status.upper(),
                "caller": "anonymous",
                **case.labels,
            }
            assert line["duration_ms"] > 0
            assert line["level"] == "INFO"

    def test_is_json_whatever_callers_send(self, server_and_client: tuple[ServerProcess, Client]) -> None:
        server, client = server_and_client
        client.start_detect(CASES["hostile names"].request, (("x-request-id", 'a"},{"level":"CRITICAL'),)).code()
        settled_metrics(server, client)

        lines = [json.loads(line) for line in server.text.splitlines()]

        assert {line["level"] for line in lines} == {"INFO"}
        assert "\x1b" not in server.text
