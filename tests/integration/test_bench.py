"""`detector-grpc bench` against real servers: what is counted, told and refused, and never how fast it was."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from click.testing import CliRunner
from support.calls import SERVING, connected, encoded_request, failure, wait_until
from support.metrics import read_metrics
from support.onnx_files import tiny_onnx
from support.pictures import png
from support.servers import DEFAULTS, server_process

from detector_grpc.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.testing import Result
    from support.servers import ServerProcess

    Bench = Callable[..., Result]

SHORT = ("--seconds", "0.5", "--warm-up-s", "0.1")
COMMANDS = {
    "rate": ("rate", "--rate", "50", *SHORT),
    "clients": ("clients", "--clients", "3", *SHORT),
    "cameras": ("cameras", "--cameras", "3", "--fps", "20", *SHORT),
    "search": ("search", "--p99-ms", "5000", "--from-rate", "20", "--resolution", "100", *SHORT),
    "overload": ("overload", "--clients", "3", "--times", "1", "--times", "2", *SHORT),
}
NOBODYS = encoded_request(png(np.zeros((64, 64, 3), np.uint8)), model="nobody")
each_command = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of a model that takes no time, and of one that is asked for by name."""
    folder = tmp_path_factory.mktemp("models")
    tiny_onnx(folder / "tiny" / "v1" / "model.onnx")
    tiny_onnx(folder / "tiny" / "v2" / "model.onnx")
    with server_process(repository=folder, models_default_model="tiny") as running:
        with connected(running.address) as client:
            client.wait_for_status(SERVING)
        yield running


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "pictures" / "picture.png"
    path.parent.mkdir()
    path.write_bytes(png(np.zeros((64, 64, 3), np.uint8)))
    return path


@pytest.fixture
def bench(server: ServerProcess) -> Bench:
    def invoke(*words: object) -> Result:
        environment = {"DETECTOR_ADDRESS": server.address, "COLUMNS": "80"}
        return CliRunner().invoke(main, ["bench", *map(str, words)], env=environment)

    return invoke


def told(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_calls_come_at_the_rate_and_are_all_accounted_for(bench: Bench, picture: Path) -> None:
    document = told(bench(*COMMANDS["rate"], "--model-version", "v2", "--json", picture))
    setting, result = document["setting"], document["result"]
    assert (setting["command"], setting["rate_per_s"], setting["seconds"]) == ("rate", 50, 0.5)
    assert (setting["model"], setting["version"]) == ("tiny", "v2")
    assert setting["pictures"] == [str(picture)]
    assert 10 < result["calls"] < 45
    assert result["answered"] + sum(result["failed"].values()) == result["calls"]
    assert result["answered"] == result["latency"]["count"] > 0
    assert result["seconds"] == 0.5
    assert result["cpu_ms_per_call"] > 0
    assert not result["cut_short"]


def test_clients_are_answered(bench: Bench) -> None:
    result = told(bench(*COMMANDS["clients"], "--json"))["result"]
    assert result["answered"] > 3
    assert result["failed"] == {}


def test_every_frame_of_every_camera_is_answered(bench: Bench, picture: Path) -> None:
    result = told(bench(*COMMANDS["cameras"], "--json", picture.parent))["result"]
    assert (result["cameras"], result["frames"], result["unanswered"]) == (3, 30, 0)
    assert result["looked_at"] + sum(result["dropped"].values()) == 30
    assert sum(result["share"]["looked_at"]) == result["looked_at"] == result["age"]["count"]
    assert result["age_at_server"]["count"] == result["age"]["count"]
    assert (result["failed"], result["streams_failed"]) == ({}, {})


def test_the_search_tells_every_rate_it_tried(bench: Bench, tmp_path: Path) -> None:
    """The bound is beyond what a call may take, so that only failures could miss it, and they end the search."""
    plot = tmp_path / "search.svg"
    done = bench(*COMMANDS["search"], "--deadline-ms", 5000, "--plot", plot, "--json")
    result = told(done)["result"]
    rates = [step["rate_per_s"] for step in result["steps"]]
    assert rates[:2] == [20, 40]
    *shown, plotted = done.stderr.splitlines()
    assert [f"{rate:.1f} per second" in line for rate, line in zip(rates, shown, strict=True)] == [True] * len(rates)
    assert plotted == f"Plotted: {plot}"
    assert result["p99_bound_ms"] == 5000
    assert all(step["load"]["calls"] > 0 for step in result["steps"])
    assert "<svg" in plot.read_text()


def test_overload_is_a_multiple_of_what_the_server_can_do(bench: Bench) -> None:
    result = told(bench(*COMMANDS["overload"], "--json"))["result"]
    assert result["capacity_per_s"] == result["capacity"]["answered_per_s"] > 0
    assert [run["times"] for run in result["multiples"]] == [1, 2]
    for run in result["multiples"]:
        assert run["rate_per_s"] == pytest.approx(run["times"] * result["capacity_per_s"])
        assert run["goodput_to_capacity"] == pytest.approx(run["load"]["goodput_per_s"] / result["capacity_per_s"])
        assert run["goodput_to_rest"] >= run["goodput_to_capacity"]


def test_refusals_say_how_long_to_wait(picture: Path, tmp_path: Path, half_second: int) -> None:
    tiny_onnx(tmp_path / "models" / "tiny" / "v1" / "model.onnx", cost=half_second)
    with server_process(repository=tmp_path / "models", runtime_workers=1, limits_max_queue=0) as slow:
        with connected(slow.address) as client:
            client.wait_for_status(SERVING)
        words = ["--address", slow.address, "--json", str(picture)]
        done = CliRunner().invoke(main, ["bench", *COMMANDS["rate"], "--model", "tiny", *words])
    result = told(done)["result"]
    refused = result["failed"]["RESOURCE_EXHAUSTED (QUEUE_FULL)"]
    assert refused == result["refused"]["count"] == result["retry_after"]["count"] > 0
    assert result["retry_after"]["p50_ms"] > 0


def test_streams_that_the_server_does_not_take_on_are_counted(tmp_path: Path) -> None:
    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
    with server_process(repository=tmp_path, limits_max_streams=1) as small:
        with connected(small.address) as client:
            client.wait_for_status(SERVING)
        words = ["--address", small.address, "--model", "tiny", "--json"]
        done = CliRunner().invoke(main, ["bench", *COMMANDS["cameras"], *words])
    result = told(done)["result"]
    assert sum(result["streams_failed"].values()) == 2  # by the server's reason, unless gRPC loses it
    assert sorted(result["share"]["looked_at"])[:2] == [0, 0]
    assert (result["frames"], result["unsent"], result["unanswered"]) == (30, 20, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_frames_that_are_due_when_the_server_is_gone_are_told(tmp_path: Path, number: signal.Signals) -> None:
    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
    with server_process(repository=tmp_path) as stopping:
        with connected(stopping.address) as client:
            client.wait_for_status(SERVING)
        words = ["cameras", "--cameras", "2", "--fps", "20", "--seconds", "4", "--warm-up-s", "0", "--model", "tiny"]
        command = [sys.executable, "-m", "detector_grpc", "bench", *words, "--address", stopping.address, "--json"]
        with subprocess.Popen(command, env=DEFAULTS, stdout=subprocess.PIPE, text=True) as process:
            wait_until(lambda: calls_at(stopping) > 10, "10 frames")
            stopping.send(number)
            out, _ = process.communicate(timeout=60)
    result = json.loads(out)["result"]
    assert process.returncode == 0
    assert sum(result["streams_failed"].values()) == 2
    assert result["streams_reopened"] == 0
    assert 0 <= result["first_failed_at_s"] < 4
    assert result["frames"] == 2 * 20 * 4
    assert result["looked_at"] > 0
    assert result["unsent"] > 0
    seen = result["looked_at"] + sum(result["dropped"].values())
    assert seen + result["unanswered"] + result["unsent"] == result["frames"]


def test_a_search_says_that_the_server_is_gone(tmp_path: Path) -> None:
    tiny_onnx(tmp_path / "tiny" / "v1" / "model.onnx")
    with server_process(repository=tmp_path) as dying:
        with connected(dying.address) as client:
            client.wait_for_status(SERVING)
        words = ["search", "--p99-ms", "5000", "--from-rate", "50", "--seconds", "60", "--warm-up-s", "0"]
        command = [*words, "--model", "tiny", "--address", dying.address]
        with started(*command) as process:
            wait_until(lambda: calls_at(dying) > 20, "20 calls")
            dying.send(signal.SIGKILL)
            out, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error.startswith(f"Error: no answer from {dying.address} ")
    assert "beyond" not in out
    assert "Cut short" in out


@each_command
def test_the_table_fits_into_80_columns(bench: Bench, command: tuple[str, ...], tmp_path: Path) -> None:
    plot = tmp_path / "folder" / "plot.png"
    done = bench(*command, "--plot", plot)
    assert done.exit_code == 0, done.output
    table = [line for line in done.stdout.splitlines() if line.startswith(" ")]
    assert table
    assert max(map(len, table)) <= 80
    assert "…" not in done.stdout
    assert f"Plotted: {plot}" in done.stdout
    assert plot.read_bytes().startswith(b"\x89PNG")


@each_command
def test_without_a_server_one_sentence_says_so_at_once(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, ["bench", *command, "--address", "localhost:1"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: no answer from localhost:1 ")


def test_a_model_that_is_not_there_is_an_error_at_once(bench: Bench) -> None:
    done = bench(*COMMANDS["rate"], "--model", "unheard-of")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: NOT_FOUND (MODEL_NOT_FOUND)")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("rate", "--rate", "1", "--seconds", "1e300"), "--seconds"),
        (("rate", "--rate", "1e300"), "that would be 3.2e+301 calls"),
        (("rate", "--rate", "1", "--confidence", "nan"), "--confidence"),
        (("rate", "--rate", "1", "--address", ""), "the address is empty"),
        (("clients", "--deadline-ms", "1e13"), "--deadline-ms"),
        (("cameras", "--fps", "1e-310"), "--fps"),
        (("search", "--p99-ms", "100", "--resolution", "1e-300"), "--resolution"),
        (("rate", "--rate", "0"), "--rate"),
        (("rate", "--rate", "nan"), "--rate"),
        (("rate", "--rate", "inf"), "--rate"),
        (("rate", "--rate", "1", "--warm-up-s", "nan"), "--warm-up-s"),
        (("rate",), "Missing option '--rate'"),
        (("rate", "--rate", "1e6", "--seconds", "1e3"), "1,002,000,000 calls, more than the 2,000,000"),
        (("rate", "--rate", "1", "--plot", "x.gif"), "--plot names a file that ends with .svg or .png"),
        (("rate", "--rate", "1", "no-such-picture.jpg"), "no-such-picture.jpg"),
        (("search", "--p99-ms", "100", "--deadline-ms", "50"), "--deadline-ms 50 is below --p99-ms 100"),
        (("overload", "--times", "-1"), "--times"),
        (("cameras", "--cameras", "0"), "--cameras"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(bench: Bench, words: tuple[str, ...], says: str) -> None:
    done = bench(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert says in " ".join(done.stderr.split())


def test_what_was_measured_is_told_even_if_the_plot_cannot_be_written(bench: Bench, picture: Path) -> None:
    done = bench(*COMMANDS["rate"], "--plot", picture / "plot.png", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["result"]["answered"] > 0
    assert done.stderr == f"Error: cannot write {picture / 'plot.png'}: File exists\n"


def test_a_plot_needs_an_extra_and_says_so_before_anything_is_measured(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = bench(*COMMANDS["rate"], "--plot", tmp_path / "plot.png")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "Error: matplotlib is not installed: `pip install 'detector-grpc[bench]'`\n"


def test_a_picture_that_is_none_is_an_error_at_once(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "no.jpg").write_bytes(b"no picture")
    done = bench(*COMMANDS["rate"], tmp_path)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: INVALID_ARGUMENT (IMAGE_UNDECODABLE)")


def test_a_folder_without_pictures_is_a_usage_error(bench: Bench, tmp_path: Path) -> None:
    done = bench("clients", tmp_path)
    assert done.exit_code == 2
    assert "pictures in" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        (*COMMANDS["rate"], "--deadline-ms", "1e-6"),
        (*COMMANDS["clients"], "--deadline-ms", "1e-6"),
        ("search", "--p99-ms", "1e-6", "--deadline-ms", "1e-6", *SHORT),
    ],
)
def test_a_plot_can_be_of_a_load_that_was_not_answered_at_all(
    bench: Bench, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = bench(*words, "--plot", tmp_path / "plot.svg")
    assert (done.exit_code, done.stderr.count("Error")) == (0, 0), done.output
    assert "DEADLINE_EXCEEDED" in done.output
    assert "<svg" in (tmp_path / "plot.svg").read_text()


@pytest.mark.parametrize(
    ("words", "what"), [(("rate", "--rate", "1e-9"), "call"), (("cameras", "--fps", "0.001"), "frame")]
)
def test_where_nothing_was_due_there_is_nothing_to_plot_and_no_cost(
    bench: Bench, tmp_path: Path, words: tuple[str, ...], what: str
) -> None:
    done = bench(*words, *SHORT, "--plot", tmp_path / "plot.svg")
    assert done.exit_code == 1
    assert done.stderr == f"Nothing is plotted\nError: not a single {what} was measured\n"
    assert "Generator" not in done.stdout
    assert not list(tmp_path.iterdir())


def test_overload_says_how_calls_failed_where_none_was_answered(bench: Bench) -> None:
    done = bench(*COMMANDS["overload"], "--deadline-ms", "1e-6")
    assert done.exit_code == 1
    assert re.match(r"Error: not a single call was answered; \d+ failed: DEADLINE_EXCEEDED", done.stderr)


def test_a_full_disk_is_told_in_a_sentence(server: ServerProcess) -> None:
    words = [sys.executable, "-m", "detector_grpc", "bench", *COMMANDS["rate"], "--address", server.address]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            words, env=DEFAULTS, check=False, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (1, "Error: cannot write: No space left on device\n")


def calls_at(server: ServerProcess) -> float:
    """Calls and frames that the server has answered so far."""
    metrics = read_metrics(server)
    return metrics.total("object_detection_requests_total") + metrics.total("object_detection_stream_frames_total")


def settled_calls_at(server: ServerProcess) -> float:
    """The same once all are counted that came before, which the server does a moment after they were answered."""

    def refused() -> float:
        return read_metrics(server).total("object_detection_requests_total", status="not_found")

    before = refused()
    with connected(server.address) as client:
        assert failure(lambda: client.detect(NOBODYS)).code() is grpc.StatusCode.NOT_FOUND
    wait_until(lambda: refused() > before, "the last call to be counted")
    return calls_at(server)


def started(*words: str) -> subprocess.Popen[str]:
    """The command, as a process."""
    command = [sys.executable, "-m", "detector_grpc", "bench", *words]
    return subprocess.Popen(command, env=DEFAULTS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("words", [("rate", "--rate", "50"), ("clients",), ("cameras", "--fps", "20")])
def test_ctrl_c_prints_what_there_is_and_says_that_it_was_cut_short(
    server: ServerProcess, words: tuple[str, ...]
) -> None:
    before = settled_calls_at(server)
    with started(*words, "--seconds", "60", "--warm-up-s", "0", "--json", "--address", server.address) as process:
        wait_until(lambda: calls_at(server) > before + 20, "20 calls")
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
    result = json.loads(out)["result"]
    assert result["cut_short"]
    assert 0 < result["seconds"] < 60
    assert result.get("answered", result.get("looked_at")) > 0


@pytest.mark.parametrize(
    ("command", "what"),
    [("rate", "call"), ("clients", "call"), ("cameras", "frame"), ("search", "rate"), ("overload", "call")],
)
def test_ctrl_c_in_the_warm_up_says_that_nothing_was_measured(
    server: ServerProcess, tmp_path: Path, command: str, what: str
) -> None:
    before, plot = settled_calls_at(server), tmp_path / "plot.svg"
    words = [*COMMANDS[command], "--warm-up-s", "60", "--plot", str(plot)]
    with started(*words, "--address", server.address) as process:
        wait_until(lambda: calls_at(server) > before + 5, "5 calls")
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error.endswith(f"Error: not a single {what} was measured\n")
    assert "Traceback" not in error
    assert "No rate" not in out
    assert not plot.exists()


def test_a_load_that_ctrl_c_ends_in_its_warm_up_is_left_out(server: ServerProcess) -> None:
    """The closed loop is over when calls come to rest, as the next load hardly makes any."""
    words = ["--clients", "2", "--times", "1e-4", "--seconds", "0.3", "--warm-up-s", "5", "--json"]
    before = last = settled_calls_at(server)
    changed_at = time.monotonic()

    def at_rest() -> bool:
        nonlocal last, changed_at
        last, previous = calls_at(server), last
        changed_at = time.monotonic() if last != previous else changed_at
        return last > before + 20 and time.monotonic() > changed_at + 1

    with started("overload", *words, "--address", server.address) as process:
        wait_until(at_rest, "the end of the closed loop")
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
    result = json.loads(out)["result"]
    assert (result["cut_short"], result["multiples"]) == (True, [])
    assert result["capacity_per_s"] > 0
