"""`up` serves with all of its processes, keeps them running, and leaves none behind, however it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import cv2
import grpc
import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from support.calls import SERVING, Client, connected, encoded_request, failure, wait_until
from support.gateways import tiny_repository
from support.pictures import png
from support.rest import Rest
from support.servers import SOURCES
from support.ups import failed_up, start_up, up_process

from detector_grpc.cli import main
from detector_grpc.errors import SetupInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.ups import UpProcess

REQUEST = encoded_request(png(np.zeros((64, 64, 3), np.uint8)))

CHILDREN = {"server-0", "server-1", "pages", "envoy"}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tiny_repository(tmp_path / "models")


@pytest.fixture
def up(tmp_path: Path, repository: Path) -> Iterator[UpProcess]:
    """Two servers behind a gateway."""
    with up_process(tmp_path, repository=repository, WORKERS=2) as up:
        yield up


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


class Callers:
    """Threads that call Detect through the gateway on and on.

    Attributes:
        ended: How often calls ended OK, with what errors, and how often nobody listened.
    """

    def __init__(self, address: str, count: int) -> None:
        self.ended: Counter[str] = Counter()
        self._address = address
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def wait_for_more(self, calls: int) -> None:
        most = self.ended.total() + calls
        wait_until(lambda: self.ended.total() >= most, f"{calls} calls")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        # As clients have it who set nothing: what was never sent is sent once more, on another connection.
        with grpc.insecure_channel(self._address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            client = Client(channel)
            while not self._stop.is_set():
                try:
                    client.detect(REQUEST)
                    self.ended["OK"] += 1
                except grpc.RpcError as error:
                    nobody = "failed to connect to all addresses" in error.details()
                    self.ended["NOBODY LISTENS" if nobody else f"{error.code().name}: {error.details()}"] += 1


def test_everything_is_served_and_each_says_who_it_is(up: UpProcess) -> None:
    assert {entry["child"] for entry in up.log("started", by="up")} == CHILDREN
    assert len(set(up.servers)) == 2
    assert up.healthy_servers() == {2}
    for address in (up.gateway, *up.servers):
        with connected(address) as client:
            assert client.status() == SERVING
            assert client.detect(REQUEST).detections
    with urlopen(f"http://{up.gateway}/health") as answer:
        assert answer.status == 200
    assert {entry["by"] for entry in up.log("version ready", version="v2")} == {"server-0", "server-1"}


def test_the_smoke_test_of_rest_passes_and_fails_where_something_is_wrong(up: UpProcess, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["health", "--rest", f"http://{up.gateway}", "--json"])
    checks = [json.loads(line) for line in done.output.splitlines()]
    assert [check["what"] for check in checks] == [
        "GET /health",
        "GET /models",
        "POST /predict",
        "POST /v1/predict?model=tiny",
        "POST /v2/predict?model=tiny",
    ]
    assert all(check["ok"] for check in checks), checks
    assert done.exit_code == 0

    (tmp_path / "text").write_text("no picture")
    done = CliRunner().invoke(main, ["health", "--rest", f"http://{up.gateway}/", "--picture", str(tmp_path / "text")])
    assert [line.split()[0] for line in done.output.splitlines()] == ["ok", "ok", "failed", "failed", "failed"]
    assert "400 Bad Request: the bytes are no" in done.output
    assert done.exit_code == 1


def test_servers_share_processors_and_the_key_by_which_streams_move(up: UpProcess) -> None:
    environments = [psutil.Process(up.pids(f"server-{number}")[-1]).environ() for number in range(2)]
    assert {environment["DETECTOR_RUNTIME_WORKERS"] for environment in environments} == {"1"}
    (key,) = {environment["DETECTOR_STREAMS_RESUME_KEY_FILE"] for environment in environments}
    assert len(Path(key).read_bytes()) >= 32
    assert Path(key).parent.stat().st_mode & 0o077 == 0
    assert up.log(level="WARNING") == []


def test_a_server_that_is_killed_loses_no_call_and_is_started_again(up: UpProcess) -> None:
    callers = Callers(up.gateway, 4)
    for number in (0, 1, 0):
        callers.wait_for_more(200)
        name, times = f"server-{number}", len(up.log("version ready", by=f"server-{number}"))
        psutil.Process(up.pids(name)[-1]).kill()
        wait_until(lambda name=name, times=times: len(up.log("version ready", by=name)) == times + 2, f"{name} is back")
        wait_until(lambda: up.healthy_servers() == {2}, "Envoy has seen it")
        callers.wait_for_more(200)
    callers.stop()

    assert set(callers.ended) == {"OK"}
    crashes = up.log("was ended by SIGKILL and is started again")
    assert [crash["child"] for crash in crashes] == ["server-0", "server-1", "server-0"]


@pytest.mark.parametrize("child", ["envoy", "pages"])
def test_whatever_else_is_killed_is_started_again(up: UpProcess, child: str) -> None:
    psutil.Process(up.pids(child)[-1]).kill()
    up.wait_for_log("was ended by SIGKILL and is started again", child=child)
    wait_until(lambda: len(up.pids(child)) == 2, f"{child} once more")

    def answers() -> bool:
        try:
            with urlopen(f"http://{up.gateway}/health", timeout=10) as answer:
                return answer.status == 200
        except OSError:
            return False

    wait_until(answers, "the gateway answers")


def wait_for_gateway(up: UpProcess) -> None:
    """Waits until Envoy, started again, has seen both servers."""

    def is_healthy() -> bool:
        try:
            return up.healthy_servers() == {2}
        except (SetupInvalid, KeyError):
            return False

    wait_until(is_healthy, "Envoy has seen all servers")


@pytest.mark.parametrize(
    "damage",
    [
        {"routes.yaml": None},
        {"traffic.yaml": "weights: {v2: ["},
    ],
    ids=["no routes", "broken traffic"],
)
def test_envoy_is_started_again_with_the_shares_that_there_were_whatever_somebody_has_done_to_its_files(
    up: UpProcess, damage: dict[str, str | None]
) -> None:
    change = ["traffic", "set", "--state", str(up.state.folder), "v2=1"]
    assert CliRunner().invoke(main, change).exit_code == 0
    for name, text in damage.items():
        file = up.state.folder / name
        file.unlink()
        if text is not None:
            file.write_text(text, encoding="utf-8")
    psutil.Process(up.pids("envoy")[-1]).kill()
    wait_until(lambda: len(up.pids("envoy")) == 2, "envoy once more")
    wait_for_gateway(up)
    with connected(up.gateway) as client:
        assert {client.detect(REQUEST).version for _ in range(10)} == {"v2"}


def test_all_goes_on_where_somebody_removes_the_folder_of_the_gateway(up: UpProcess) -> None:
    shutil.rmtree(up.state.folder)
    for child in ("server-0", "envoy"):
        psutil.Process(up.pids(child)[-1]).kill()
        wait_until(lambda child=child: len(up.pids(child)) == 2, f"{child} once more")
    wait_until(lambda: len(up.log("version ready", by="server-0")) == 4, "server-0 is back")
    wait_for_gateway(up)
    with connected(up.gateway) as client:
        assert client.detect(REQUEST).detections
    shutil.rmtree(up.state.folder)
    up.send(signal.SIGINT)
    assert up.wait() == 0
    assert "Traceback" not in up.text


def test_one_ctrl_c_stops_all_in_order(up: UpProcess) -> None:
    children = up.children()
    began = time.monotonic()
    up.send(signal.SIGINT)

    assert up.wait() == 0
    assert time.monotonic() - began < 25  # those that do not end by themselves have 30 s
    assert all_gone(children)
    ends = [entry["by"] for entry in up.log() if entry["message"] in ("stopped", "caught ENVOY_SIGTERM")]
    assert ends[:2] in (["server-0", "server-1"], ["server-1", "server-0"])
    assert ends[2:] == ["pages", "envoy", "up"]
    assert "Traceback" not in up.text
    assert not up.log("does not end, so it is killed")


def test_ctrl_c_while_all_start_stops_all(tmp_path: Path, repository: Path) -> None:
    up = start_up(tmp_path, repository=repository, WORKERS=2)
    up.wait_for_log("started")
    children = up.children()
    up.send(signal.SIGINT)
    try:
        assert up.wait() == 0
    finally:
        up.close()
    assert children
    assert all_gone(children)
    assert "Traceback" not in up.text


def test_a_terminal_that_is_closed_stops_all_in_order(up: UpProcess) -> None:
    children = up.children()
    up.send(signal.SIGHUP)

    assert up.wait() == 0
    assert all_gone(children)
    assert [entry["by"] for entry in up.log("stopped")][-2:] == ["pages", "up"]


def test_sigterm_finishes_calls_in_progress(tmp_path: Path, half_second: int) -> None:
    repository = tiny_repository(tmp_path / "models", ["v1"], cost=half_second)
    with up_process(tmp_path, repository=repository, WORKERS=2) as up, connected(up.gateway) as client:
        calls = [client.start_detect(REQUEST) for _ in range(4)]
        wait_until(lambda: up.calls_under_way() == 4, "calls under way")
        up.send(signal.SIGTERM)

        assert [len(call.result().detections) for call in calls] == [1] * 4
        assert up.wait() == 0


@pytest.mark.parametrize("drain_wait_s", [0, 5])
def test_sigterm_under_load_fails_no_call_that_was_taken(tmp_path: Path, repository: Path, drain_wait_s: int) -> None:
    with up_process(tmp_path, repository=repository, WORKERS=2, server_drain_wait_s=drain_wait_s) as up:
        callers = Callers(up.gateway, 4)
        callers.wait_for_more(200)
        up.send(signal.SIGTERM)
        if drain_wait_s:
            callers.wait_for_more(40)
            assert set(callers.ended) == {"OK"}
        assert up.wait() == 0
        callers.stop()
    assert set(callers.ended) <= {"OK", "NOBODY LISTENS"}


def test_sigterm_is_seen_at_health_while_calls_are_still_answered(tmp_path: Path, repository: Path) -> None:
    with (
        up_process(tmp_path, repository=repository, server_drain_wait_s=60) as up,
        closing(Rest(up.gateway)) as rest,
        connected(up.gateway) as client,
    ):
        up.send(signal.SIGTERM)

        wait_until(lambda: rest("GET", "/health").status == 503, "the gateway to say at /health that it stops")
        assert client.detect(REQUEST).detections


def test_a_second_ctrl_c_stops_all_at_once(tmp_path: Path, half_second: int) -> None:
    repository = tiny_repository(tmp_path / "models", ["v1"], cost=3 * half_second)
    with up_process(tmp_path, repository=repository, runtime_workers=1) as up, connected(up.gateway) as client:
        children = up.children()
        call = client.start_detect(REQUEST)
        wait_until(lambda: up.calls_under_way() == 1, "a call under way")
        up.send(signal.SIGINT)
        up.wait_for_log("draining")
        up.send(signal.SIGINT)

        assert up.wait() == 0
        assert all_gone(children)
        assert up.log("asked twice, so all are killed")
        assert failure(call.result)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends processes whose parent is gone")
def test_an_up_that_is_killed_leaves_nobody_behind(up: UpProcess) -> None:
    children = up.children()
    assert len(children) == len(CHILDREN)
    up.process.kill()
    up.wait()
    wait_until(lambda: all_gone(children), "all children are gone")


def test_what_an_up_that_was_killed_has_left_goes_at_the_next_start(tmp_path: Path) -> None:
    own, temporary = tmp_path / "state" / "up", tmp_path / "temporary"
    temporary.mkdir()
    seen = []
    for end in (signal.SIGKILL, signal.SIGINT):
        with up_process(tmp_path, demo=True, TMPDIR=temporary) as up:
            up.shown()
            assert {path.name for path in own.iterdir()} == {"resume-key", "desk.jpg"}
            seen.append((own / "resume-key").read_bytes())
            (own / "stray").touch()
            up.send(end)
            up.wait()
    assert seen[0] != seen[1]
    assert not list(own.iterdir())
    assert not list(temporary.glob("*detector*"))


def test_a_second_up_in_the_folder_of_another_is_refused(up: UpProcess, tmp_path: Path) -> None:
    code, other = failed_up(tmp_path)
    assert code == 2
    (said,) = other.lines
    assert said.startswith(f"Error: another `up` runs in {up.state.folder}; choose another")
    assert up.healthy_servers() == {2}


def test_ports_that_are_taken_are_all_named_before_anything_starts(tmp_path: Path, repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        taken = [each.getsockname()[1] for each in (first, second)]
        code, up = failed_up(
            tmp_path, repository=repository, WORKERS=2, server_port=taken[0], gateway_http_port=taken[1]
        )
    assert code == 2
    assert up.lines == [
        f"Error: server-0 cannot listen on 127.0.0.1:{taken[0]} (DETECTOR_SERVER_PORT): Address already in use",
        f"Error: pages cannot listen on 127.0.0.1:{taken[1]} (DETECTOR_GATEWAY_HTTP_PORT): Address already in use",
    ]


def test_what_servers_find_wrong_with_their_settings_ends_all(tmp_path: Path, repository: Path) -> None:
    code, up = failed_up(tmp_path, repository=repository, streams_resume_key_file=tmp_path / "none")
    assert code == 2
    fault = f"cannot read {tmp_path / 'none'} (DETECTOR_STREAMS_RESUME_KEY_FILE): No such file or directory"
    assert up.lines[-1] == f"Error: server-0: {fault}"
    assert len(up.pids("server-0")) == 1


@pytest.mark.parametrize(("workers", "child"), [(1, "server-0"), (2, "engine")])
def test_a_provider_that_is_not_there_ends_all(tmp_path: Path, workers: int, child: str) -> None:
    code, up = failed_up(tmp_path, demo=True, WORKERS=workers, runtime_provider="CUDAExecutionProvider")
    assert code == 2
    fault = "CUDAExecutionProvider (DETECTOR_RUNTIME_PROVIDER) is not available in this ONNX Runtime"
    assert up.lines[-1].startswith(f"Error: {child}: {fault}")
    assert len(up.pids(child)) == 1
    assert up.log(level="ERROR") == []


def test_servers_have_the_settings_of_the_file_that_up_was_given_and_of_no_other(
    tmp_path: Path, repository: Path
) -> None:
    (tmp_path / "other.yaml").write_text("models: {default_version: v9}", encoding="utf-8")
    (tmp_path / "up.yaml").write_text(f"models: {{repository: {repository}}}", encoding="utf-8")
    flags = ["--config", str(tmp_path / "up.yaml")]
    with (
        up_process(tmp_path, *flags, DETECTOR_CONFIG=tmp_path / "other.yaml") as up,
        connected(up.servers[0]) as client,
    ):
        assert client.detect(REQUEST).version == "v1"


def test_servers_of_somebody_else_are_refused_with_what_to_do_instead(tmp_path: Path, repository: Path) -> None:
    names = ("gateway_servers", "gateway_servers_authority", "gateway_server_metrics")
    code, up = failed_up(tmp_path, repository=repository, **dict.fromkeys(names, "localhost:50051"))
    assert code == 2
    assert up.lines == [
        f"Error: {variable}: `up` starts servers of its own; `gateway render` and `gateway serve` are for others"
        for variable in (f"DETECTOR_{name.upper()}" for name in names)
    ]


def test_a_certificate_is_refused_with_what_to_do_instead(tmp_path: Path, repository: Path) -> None:
    code, up = failed_up(tmp_path, repository=repository, tls_certificate="/a", tls_private_key="/b")
    assert code == 2
    assert up.lines == [
        "Error: DETECTOR_TLS_CERTIFICATE: `serve` encrypts with it, `up` with DETECTOR_GATEWAY_TLS_CERTIFICATE"
    ]


def test_an_authority_for_a_process_that_does_not_encrypt_is_refused(tmp_path: Path, repository: Path) -> None:
    code, up = failed_up(tmp_path, repository=repository, drift_sample_rate=1, drift_target_authority="/a")
    assert code == 2
    (line,) = up.lines
    assert line.startswith("Error: DETECTOR_DRIFT_TARGET_AUTHORITY: the `drift serve` of `up` does not encrypt")


def test_without_envoy_grpc_is_served_and_it_is_said_that_there_is_no_gateway(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "envoy.py").write_text("raise ImportError", encoding="utf-8")
    path = f"{tmp_path}{os.pathsep}{SOURCES}"
    with up_process(tmp_path, repository=repository, PYTHONPATH=path) as up:
        assert up.gateway is None
        assert {entry["child"] for entry in up.log("started")} == {"server-0"}
        with connected(up.servers[0]) as client:
            assert client.detect(REQUEST).detections
        (said,) = [entry["message"] for entry in up.log(level="WARNING")]
        assert said.startswith("there is no gateway, only gRPC: Envoy is not installed here")
        up.send(signal.SIGINT)
        assert up.wait() == 0


def test_the_demonstration_shows_boxes_and_where_everything_is(tmp_path: Path) -> None:
    with up_process(tmp_path, demo=True) as up:
        shown = up.shown()
        for class_name in ("qr_code", "data_matrix", "aztec", "pdf417", "linear_barcode"):
            assert class_name in shown
        picture = Path(re.search(r"With its boxes drawn.*: (.*)", shown)[1])
        assert cv2.imread(str(picture)) is not None
        for path in ("", "docs", "metrics"):
            assert f"http://{up.gateway}/{path}" in shown
        up.send(signal.SIGINT)
        assert up.wait() == 0
    assert not picture.exists()
