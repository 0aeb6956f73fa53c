"""Servers that are told to use a GPU, which here is this processor: alone, and several that share an engine process."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from support.calls import NOT_SERVING, SERVING, connected, encoded_request, wait_until
from support.host_gpu import PROGRAM
from support.pictures import QrPicture, png
from support.rich_errors import reason_of, retry_after_s
from support.servers import BUNDLED_MODELS, ServerProcess, server_process, variables
from support.ups import up_process

from detector_grpc.serving.session import CUDA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.calls import Client
    from support.ups import UpProcess

    from detector_grpc._gen.detector.v1.detection_pb2 import Detection
    from detector_grpc._gen.detector.v1.detector_service_pb2 import DetectRequest, DetectResponse

GPU = {"runtime_provider": CUDA, "gpu_max_batch": 4, "repository": BUNDLED_MODELS}


@pytest.mark.parametrize(("given", "code"), [(["--help"], 0), ([], 2), (["fast", "1"], 2)])
def test_the_engine_that_takes_the_time_of_a_gpu_says_how_it_is_used(given: list[str], code: int) -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "engine.py"
    done = subprocess.run([sys.executable, script, *given], check=False, capture_output=True, text=True)
    assert done.returncode == code
    assert "usage: engine.py" in done.stdout + done.stderr
    assert "BATCH_MS PICTURE_MS" in done.stdout + done.stderr


def test_a_server_waits_for_an_engine_that_is_not_there_and_stops_when_it_is_told_to(tmp_path: Path) -> None:
    with (
        server_process(demo=True, runtime_provider=CUDA, runtime_engine=tmp_path / "engine") as server,
        connected(server.address) as client,
    ):
        said = f"no engine process listens at {tmp_path / 'engine'}: No such file or directory "
        waits = "(`detector-grpc engine` starts one); models are loaded when one does"
        server.wait_for_log(f"{said}{waits}", level="WARNING")
        assert client.status() == NOT_SERVING
        server.send(signal.SIGINT)
        assert server.wait() == 0
        assert len(server.log(level="WARNING")) == 1


@pytest.fixture
def up(tmp_path: Path) -> Iterator[UpProcess]:
    """Two servers that share an engine process."""
    with up_process(tmp_path, program=PROGRAM, WORKERS=2, **GPU) as up:
        yield up


def corners(detection: Detection) -> list[float]:
    box = detection.bbox
    return [box.x_min, box.y_min, box.x_max, box.y_max]


def assert_same(client: Client, expected: Client, picture: QrPicture) -> None:
    """That a picture's boxes are those of another server, to what processors round."""
    request = encoded_request(png(picture.image))
    found, wanted = client.detect(request), expected.detect(request)
    assert [each.class_name for each in found.detections] == [each.class_name for each in wanted.detections]
    for one, other in zip(found.detections, wanted.detections, strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)
        assert corners(one) == pytest.approx(corners(other), abs=0.5)


def test_a_server_with_a_gpu_of_its_own_answers_as_one_without(codes: Client, qr: QrPicture) -> None:
    with server_process((*PROGRAM, "serve"), **GPU) as server, connected(server.address) as client:
        client.wait_for_status(SERVING)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: assert_same(client, codes, qr), range(24)))
        server.send(signal.SIGTERM)
        assert server.wait() == 0


def test_servers_that_share_an_engine_process_answer_as_one_without(
    up: UpProcess, codes: Client, qr: QrPicture
) -> None:
    with ThreadPoolExecutor(8) as threads:
        for address in up.servers:
            with connected(address) as client:
                list(threads.map(lambda _, client=client: assert_same(client, codes, qr), range(12)))
    ready = up.log("model ready", by="engine")
    assert len(ready) == 2  # v1 and v2, each once for both servers


def test_an_engine_process_that_is_killed_is_started_again_and_its_servers_go_on(up: UpProcess, qr: QrPicture) -> None:
    request = encoded_request(png(qr.image))
    with connected(up.servers[0]) as client:
        before = client.detect(request)
        os.kill(up.pids("engine")[-1], signal.SIGKILL)
        error = until_failure(client, request)
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAVAILABLE, "ENGINE_GONE")
        assert retry_after_s(error) > 0
        wait_until(lambda: len(up.pids("engine")) == 2, "the next engine")
        assert until_answer(client, request).detections == before.detections
    up.send(signal.SIGTERM)
    assert up.wait() == 0


def until_failure(client: Client, request: DetectRequest) -> grpc.RpcError:
    """Calls on and on."""
    try:
        while True:
            client.detect(request)
    except grpc.RpcError as error:
        return error


def until_answer(client: Client, request: DetectRequest) -> DetectResponse:
    """Calls on and on, while what runs the models is gone."""
    while True:
        try:
            return client.detect(request)
        except grpc.RpcError as error:
            if reason_of(error) != "ENGINE_GONE":
                raise


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"runtime_provider": CUDA}, "set DETECTOR_RUNTIME_ENGINE"),
        ({"runtime_engine": "engine"}, "CPUExecutionProvider .* runs in the servers themselves"),
        ({"runtime_provider": CUDA, "runtime_engine": "/nowhere/engine"}, "cannot listen on /nowhere/engine"),
    ],
)
def test_an_engine_process_that_cannot_start_says_why(settings: dict[str, str], fault: str) -> None:
    engine = ServerProcess(variables(settings), (*PROGRAM, "engine"))
    assert engine.wait() == 2
    assert re.search(fault, engine.text)
    engine.close()


def test_an_engine_process_may_open_all_files_that_the_system_lets_it(tmp_path: Path) -> None:
    few = ("sh", "-c", 'ulimit -Sn 256 && exec "$@"', "sh")
    settings = {"runtime_provider": CUDA, "runtime_engine": str(tmp_path / "engine")}
    engine = ServerProcess(variables(settings), (*few, *PROGRAM, "engine"))
    engine.wait_for_log("listening")
    soft, hard = resource.prlimit(engine.process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard > 256
    engine.close()
