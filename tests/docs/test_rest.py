"""The curl lines of docs/rest.md do what it says, through a real Envoy."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.gateways import running_gateway
from support.servers import BUNDLED_MODELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.gateways import Gateway

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "rest.md").read_text(encoding="utf-8")
STATED_ADDRESS = "localhost:8000"

BLOCKS = re.findall(r"^```sh\n(.*?)^```\n(?:\n```json\n(.*?)^```)?", PAGE, re.DOTALL | re.MULTILINE)
WITH_ANSWER = [(lines.strip(), json.loads(answer)) for lines, answer in BLOCKS if answer]
WITHOUT = [line for lines, answer in BLOCKS if not answer for line in lines.splitlines()]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway in front of the bundled models, as `make run` starts them."""
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(folder, plan={"model": "codes"}, repository=BUNDLED_MODELS) as gateway:
        yield gateway


def run(command: str, gateway: Gateway, folder: Path) -> bytes:
    """What the command prints, or writes into its `-o`."""
    assert STATED_ADDRESS in command
    here = command.replace(STATED_ADDRESS, gateway.address).replace("-o ", f"-o {folder}/")
    silent = here.replace("curl ", "curl --silent --show-error ")
    done = subprocess.run(silent, shell=True, cwd=PROJECT, capture_output=True, check=True)  # noqa: S602 - as readers do
    written = list(folder.iterdir())
    return written[0].read_bytes() if written else done.stdout


def masked(value: Any) -> Any:
    """Without what differs from call to call."""
    if isinstance(value, dict):
        changing = ("request_id", "inference_time")
        return {name: name if name in changing else masked(each) for name, each in value.items()}
    return [masked(each) for each in value] if isinstance(value, list) else value


def about(value: Any) -> Any:
    """Numbers with as many digits as every machine agrees about."""
    if isinstance(value, dict):
        return {name: about(each) for name, each in value.items()}
    if isinstance(value, list):
        return [about(each) for each in value]
    return pytest.approx(value, rel=0.01, abs=0.02) if isinstance(value, float) else value


@pytest.mark.parametrize(("command", "answer"), WITH_ANSWER)
def test_command_is_answered_as_the_page_says(command: str, answer: Any, gateway: Gateway, tmp_path: Path) -> None:
    assert masked(json.loads(run(command, gateway, tmp_path))) == about(masked(answer))


@pytest.mark.parametrize("command", [command for command in WITHOUT if "predict" in command])
def test_other_bodies_are_answered_alike(command: str, gateway: Gateway, tmp_path: Path) -> None:
    assert masked(json.loads(run(command, gateway, tmp_path))) == about(masked(WITH_ANSWER[0][1]))


@pytest.mark.parametrize("command", [command for command in WITHOUT if "predict" not in command])
def test_command_succeeds(command: str, gateway: Gateway, tmp_path: Path) -> None:
    answer = run(command, gateway, tmp_path)

    assert answer.startswith(b"\xff\xd8\xff") if "annotate" in command else "MODEL_STATE_READY" in answer.decode()
