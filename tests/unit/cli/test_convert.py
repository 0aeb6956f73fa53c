"""A checkpoint becomes a version by one command, or a person is told why not and what to do; PyTorch is played here."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import yaml
from click.testing import CliRunner, Result
from support.disks import may_mount, on_a_disk
from support.onnx_files import tiny_onnx
from support.origin import origin
from support.repositories import environment
from support.servers import DEFAULTS, PATIENCE_S

from detector_grpc.cli import main

if TYPE_CHECKING:
    from pathlib import Path

CONVERT = (sys.executable, "-m", "detector_grpc", "models", "convert")

# An interpreter of an environment that is not there: it answers as the worker does, and notes what it was asked.
WORKER = """\
import json, os, pathlib, shutil, signal, sys
here = pathlib.Path({folder!r})
request = json.loads(sys.stdin.readline())
(here / "asked.json").write_text(json.dumps({{"request": request, "environment": dict(os.environ), "pid": os.getpid(),
                                              "arguments": sys.argv[1:]}}))
def say(answer):
    print(json.dumps(answer | {{"key": request["key"]}}))
print("a library says something")
print(json.dumps({{"ready": True}}), flush=True)
{does}
"""
DONE = 'shutil.copy(here / "tiny.onnx", request["output"]); say({"done": True})'
HANGS = "(here / 'hangs').touch(); signal.pause()"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """What is told to be a file of weights; nobody reads them here."""
    header = b"{}"
    (tmp_path / "street 9.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return tmp_path / "street 9.safetensors"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "repository"


def played(folder: Path, does: str) -> Path:
    """An environment whose worker does that."""
    tiny_onnx(folder / "tiny.onnx", names='{"0": "a", "1": "b"}')
    (folder / "worker.py").write_text(WORKER.format(folder=str(folder), does=does), encoding="utf-8")
    python = folder / "environment" / "bin" / "python"
    python.parent.mkdir(parents=True)
    command = shlex.join((sys.executable, str(folder / "worker.py")))
    python.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return folder / "environment"


def convert(repository: Path, checkpoint: Path, python: Path, *arguments: object) -> Result:
    words = ["models", "convert", checkpoint, "--conversion-environment", python, *arguments]
    return CliRunner().invoke(main, [str(word) for word in words], env=environment(repository))


def asked(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "asked.json").read_text(encoding="utf-8"))


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_checkpoint_becomes_the_next_version(repository: Path, checkpoint: Path, tmp_path: Path) -> None:
    python = played(tmp_path / "played", DONE)
    (tmp_path / "labels").write_text("car\n\nbus\n", encoding="utf-8")
    (tmp_path / "said.yaml").write_text("options: {confidence_threshold: 0.4}", encoding="utf-8")

    first = convert(repository, checkpoint, python, "--json")
    second = convert(
        repository, checkpoint, python, "--imgsz", "64x96", "--opset", 15, "--labels", tmp_path / "labels",
        "--manifest", tmp_path / "said.yaml",
    )  # fmt: skip

    assert first.exit_code == second.exit_code == 0, first.output + second.output
    told = json.loads(first.stdout)
    assert (told["model"], told["version"], told["new"], told["checked"]) == ("street-9", "v1", True, True)
    assert told["digest"] != told["made_of"]
    assert "street-9 v2 is now" in second.output
    assert [name for name in files(repository) if "v2" in name] == [
        "street-9/v2/manifest.yaml", "street-9/v2/model.onnx",
    ]  # fmt: skip
    assert yaml.safe_load((repository / "street-9" / "v2" / "manifest.yaml").read_text()) == {
        "description": "converted from street 9.safetensors",
        "class_names": ["car", "bus"],
        "options": {"confidence_threshold": 0.4},
    }
    request = asked(tmp_path / "played")["request"]
    assert (request["kind"], request["input_hw"], request["opset"]) == ("safetensors", [64, 96], 15)
    assert request["source"].endswith("/street 9.safetensors")


def test_the_worker_is_told_as_little_of_the_machine_as_it_needs(
    repository: Path, checkpoint: Path, tmp_path: Path
) -> None:
    convert(repository, checkpoint, played(tmp_path / "played", DONE))

    told = asked(tmp_path / "played")
    assert told["arguments"][0] == "-I"
    assert told["environment"]["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"
    assert "secret" not in told["environment"].values()
    assert str(repository) in told["environment"]["HOME"]


@pytest.mark.parametrize(
    ("does", "words"),
    [
        (
            'say({"refused": "it is of no family"})',
            "street 9.safetensors cannot be converted: it is of no",
        ),
        ("raise SystemError('broken inside')", "the conversion ended with code 1: SystemError: broken inside"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the conversion ended with code -11"),
        ("say({'done': False})", "the conversion ended with code 0"),
        ("print(json.dumps({'done': True}))", "the conversion ended with code 0"),
        ("print(json.dumps({'refused': 'forged'})); say({'refused': 'meant'})", "cannot be converted: meant"),
        ("print('[' * 60000); say({'refused': 'after that'})", "cannot be converted: after that"),
        ("say({'refused': 'a\\x1b[31m\\nError: b'})", "cannot be converted: a�[31m Error: b"),
        (
            'pathlib.Path(request["output"]).write_bytes(b"nonsense"); say({"done": True})',
            "cannot be served",
        ),
    ],
)
def test_what_does_not_come_of_it_is_said_and_leaves_nothing(
    repository: Path, checkpoint: Path, tmp_path: Path, does: str, words: str
) -> None:
    done = convert(repository, checkpoint, played(tmp_path / "played", does))

    assert done.exit_code == 1
    assert words in done.output
    assert files(repository) == []
    assert not (repository / ".pulls").exists()


def test_more_class_names_than_classes_are_refused(repository: Path, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("car\nbus\nbike\n", encoding="utf-8")

    done = convert(repository, checkpoint, played(tmp_path / "played", DONE), "--labels", tmp_path / "labels")

    assert done.exit_code == 1
    assert "has 3 class names, but there are 2 classes" in done.output


def test_a_bomb_is_refused_before_anything_is_started(repository: Path, tmp_path: Path) -> None:
    python = played(tmp_path / "played", DONE)
    (tmp_path / "bomb.pt").write_bytes(b"\x80\x02cposix\nsystem\n(X\x0a\x00\x00\x00touch /tmptR.")

    done = convert(repository, tmp_path / "bomb.pt", python)

    assert done.exit_code == 1
    assert "bomb.pt cannot be converted: it holds more than weights: posix.system" in done.output
    assert not (tmp_path / "played" / "asked.json").exists()


@pytest.mark.parametrize("words", [("convert", "/dev/null"), ("pull", "file:///dev/null")])
def test_pipes_and_devices_which_may_never_end_are_refused(repository: Path, words: tuple[str, str]) -> None:
    done = CliRunner().invoke(main, ["models", *words], env=environment(repository))

    assert done.exit_code == 1
    assert "/dev/null: is no file, but a pipe or a device" in done.output
    assert files(repository) == []


def test_one_that_takes_too_long_is_ended(repository: Path, checkpoint: Path, tmp_path: Path) -> None:
    done = convert(repository, checkpoint, played(tmp_path / "played", HANGS), "--conversion-timeout-s", 2)

    assert done.exit_code == 1
    assert "it took more than 2 s, the limit of conversion.timeout_s" in done.output
    assert files(repository) == []


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_the_command_ends_the_worker(
    repository: Path, checkpoint: Path, tmp_path: Path, signal_number: signal.Signals
) -> None:
    python = played(tmp_path / "played", HANGS)
    with subprocess.Popen(
        (*CONVERT, checkpoint, "--conversion-environment", python),
        env=DEFAULTS | environment(repository), stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        while process.poll() is None and not (tmp_path / "played" / "hangs").exists():
            os.sched_yield()
        worker = psutil.Process(asked(tmp_path / "played")["pid"])
        process.send_signal(signal_number)
        _, said = process.communicate(timeout=PATIENCE_S)

    worker.wait(PATIENCE_S)
    assert "Traceback" not in said
    if signal_number == signal.SIGINT:
        assert process.returncode == 130
        assert "Stopped. Nothing is left" in said
        assert files(repository) == []


class TestEnvironment:
    @pytest.mark.parametrize(
        ("script", "words"),
        [(None, "cannot run"), ("echo no module named torch; exit 1", "no module named torch")],
    )
    def test_of_others_that_cannot_be_used_is_said(
        self, repository: Path, checkpoint: Path, tmp_path: Path, script: str | None, words: str
    ) -> None:
        folder = tmp_path / "environment"
        if script is not None:
            (folder / "bin").mkdir(parents=True)
            (folder / "bin" / "python").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
            (folder / "bin" / "python").chmod(0o755)

        done = convert(repository, checkpoint, folder)

        assert done.exit_code == 1
        assert f"the environment {folder} cannot be used" in done.output
        assert words in done.output

    def test_of_ours_without_a_network_is_told_what_to_do(
        self, repository: Path, checkpoint: Path, tmp_path: Path
    ) -> None:
        with origin(b"") as gone:
            pass
        done = subprocess.run(
            (*CONVERT, checkpoint, "--conversion-index", ""),
            env=DEFAULTS | environment(repository) | {
                "XDG_CACHE_HOME": str(tmp_path / "cache"), "PIP_INDEX_URL": gone.url, "PIP_RETRIES": "0",
                "PIP_CONFIG_FILE": os.devnull, "HOME": str(tmp_path),
            },
            capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip

        assert done.returncode == 1
        assert "the environment for conversion cannot be made in" in done.stderr
        assert "No matching distribution found for" in done.stderr
        assert "--conversion-environment FOLDER" in done.stderr
        assert files(repository) == []


@pytest.mark.skipif(not may_mount(), reason="nobody may mount anything here")
def test_a_repository_that_cannot_be_written_is_said(repository: Path, checkpoint: Path, tmp_path: Path) -> None:
    python = played(tmp_path / "played", DONE)
    repository.mkdir()
    done = subprocess.run(
        on_a_disk(repository, "ro", (*CONVERT, str(checkpoint), "--conversion-environment", str(python))),
        env=DEFAULTS | environment(repository), capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip

    assert done.returncode == 1
    assert f"cannot write into {repository}: Read-only file system" in done.stderr
    assert not (tmp_path / "played" / "asked.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--imgsz", "100"), "sides are multiples of 32"),
        (("--imgsz", "640x"), "sides are multiples of 32"),
        (("--opset", "3"), "3 is not in the range"),
        (("--model", "../x"), "letters, digits"),
        (("--labels", "{empty}"), "has no class names"),
        (("--manifest", "{wrong}"), "head"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_done(
    repository: Path, checkpoint: Path, tmp_path: Path, arguments: tuple[str, str], words: str
) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "wrong").write_text("head: none", encoding="utf-8")
    said = [each.format(empty=tmp_path / "empty", wrong=tmp_path / "wrong") for each in arguments]

    done = convert(repository, checkpoint, tmp_path, *said)

    assert done.exit_code == 2
    assert words in done.output
    assert not repository.exists()


def test_checkpoints_of_the_catalogue_are_converted_when_they_are_pulled(
    repository: Path, checkpoint: Path, tmp_path: Path
) -> None:
    python = played(tmp_path / "played", DONE)
    with origin(checkpoint.read_bytes()) as mirror:
        words = ["models", "pull", "yolov9-t", "--models-mirror", mirror.url, "--conversion-environment", str(python)]
        done = CliRunner().invoke(main, words, env=environment(repository))

    # What plays PyTorch knows two classes, COCO has 80.
    assert "has 80 class names, but there are 2 classes" in done.output
    assert asked(tmp_path / "played")["request"]["source"].endswith("/v9-t.safetensors")
