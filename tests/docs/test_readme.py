"""README's commands do what README says."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).resolve().parents[2]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
STATED_ADDRESS = "localhost:50051"
STATED_GATEWAY = "localhost:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]
COMMANDS_BESIDE_IT = [command for command in COMMANDS if not command.startswith("make ")]


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as gateway:
        return server.getsockname()[1], gateway.getsockname()[1]


@pytest.fixture(scope="module")
def environment(ports: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same commands on ports that are free here."""
    port, gateway_port = ports
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "DETECTOR_"))}  # noqa: TID251
    return inherited | {
        "DETECTOR_SERVER_PORT": str(port),
        "DETECTOR_SERVER_METRICS_PORT": "0",
        "DETECTOR_SERVER_ADMIN_PORT": "0",
        "DETECTOR_GATEWAY_PORT": str(gateway_port),
        "DETECTOR_GATEWAY_HTTP_PORT": "0",
        "DETECTOR_GATEWAY_ADMIN_PORT": "0",
        "DETECTOR_GATEWAY_METRICS_PORT": "0",
        "DETECTOR_DRIFT_PORT": "0",
        "DETECTOR_DRIFT_METRICS_PORT": "0",
        "DETECTOR_DRIFT_STATE": str(tmp_path_factory.mktemp("drift")),
        "DETECTOR_GATEWAY_STATE": str(tmp_path_factory.mktemp("state")),
        "DETECTOR_ADDRESS": f"localhost:{port}",
    }


@pytest.fixture(scope="module")
def make_run(environment: dict[str, str]) -> Iterator[str]:
    """What `make run` prints until it serves."""
    assert COMMANDS[0] == "make run"
    process = subprocess.Popen(
        shlex.split(COMMANDS[0]),
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    printed = []
    for line in process.stdout:
        printed.append(line)
        if "Ctrl-C" in line:
            break
    yield "".join(printed)
    os.killpg(process.pid, signal.SIGINT)
    process.stdout.close()
    process.wait(timeout=30)


def test_make_run_prints_boxes_and_next_steps(make_run: str) -> None:
    for class_name in ("qr_code", "data_matrix", "aztec", "pdf417", "linear_barcode"):
        assert class_name in make_run
    assert "detector-grpc detect" in make_run
    assert "/docs" in make_run


@pytest.mark.parametrize("command", COMMANDS_BESIDE_IT)
def test_command_succeeds(
    command: str, environment: dict[str, str], ports: tuple[int, int], make_run: str, tmp_path: Path
) -> None:
    assert make_run
    command = command.replace(STATED_GATEWAY, f"localhost:{ports[1]}").replace("src/", f"{PROJECT}/src/")
    words = shlex.split(command.replace(".venv/", f"{PROJECT}/.venv/"))
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if "--save" in words:
        assert len(list(tmp_path.rglob("*.jpg"))) == len(list(Path(words[-1]).glob("*.jpg")))
    if words[0] == "curl":
        assert "qr_code" in {each["class_name"] for each in json.loads(done.stdout)["detections"]}


def test_python_example_prints_detections(environment: dict[str, str], make_run: str) -> None:
    assert make_run
    (example,) = blocks("python")
    code = example.replace(STATED_ADDRESS, environment["DETECTOR_ADDRESS"])
    assert code != example
    python = PROJECT / ".venv" / "bin" / "python"
    done = subprocess.run([python, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "qr_code" in done.stdout


def test_links_lead_to_files() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (PROJECT / target).exists(), target
