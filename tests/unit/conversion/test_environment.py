"""Our environment for conversion is made once, whole, and anew where it is not."""

from __future__ import annotations

import subprocess
import zipfile
from typing import TYPE_CHECKING

import pytest

from detector_grpc.conversion import convert, environment
from detector_grpc.conversion.convert import Asked, Converter
from detector_grpc.conversion.environment import discard, made
from detector_grpc.conversion.refusal import ConversionFailed
from detector_grpc.lock import locked

if TYPE_CHECKING:
    from pathlib import Path


class Told:
    """Remembers what began."""

    def __init__(self) -> None:
        self.began: list[str] = []

    def begins(self, what: str) -> None:
        self.began.append(what)

    def goes_on(self, line: str) -> None: ...


def wheel(folder: Path) -> Path:
    """A package of one module."""
    path = folder / "toy-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("toy.py", "VALUE = 7")
        made.writestr("toy-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
        made.writestr("toy-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr("toy-1.dist-info/RECORD", "")
    return path


def test_it_is_made_once_and_anew_where_it_was_not_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    folder, told = tmp_path / "cache" / "conversion", Told()
    monkeypatch.setattr(environment, "requirements", lambda: "nowhere==1\n")
    with pytest.raises(ConversionFailed, match="No matching distribution found for nowhere"):
        made(folder, "", told)
    (folder / "left").touch()

    monkeypatch.setattr(environment, "requirements", lambda: f"toy @ {wheel(tmp_path).as_uri()}\n")
    python = made(folder, "", told)
    assert made(folder, "", told) == python

    assert len(told.began) == 2
    assert not (folder / "left").exists()
    assert subprocess.check_output([python, "-I", "-c", "import toy; print(toy.VALUE)"]) == b"7\n"

    discard(folder)
    with locked(folder.parent), pytest.raises(ConversionFailed, match="another process is making the environment"):
        made(folder, "", told)


def test_one_that_does_not_work_any_more_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = """sed 's/.*"key"/{"done": true, "key"/'"""  # what it reads ends with the key
    answers = ["echo nothing works; exit 1", f"""echo '{{"ready": true}}'; {done}"""]

    def make(folder: Path, index: str, watcher: Told) -> Path:  # noqa: ARG001 - as made
        python = folder / "python"
        python.write_text(f"#!/bin/sh\n{answers.pop(0)}\n", encoding="utf-8")
        python.chmod(0o755)
        return python

    monkeypatch.setattr(convert, "made", make)
    folder, source = tmp_path / "conversion", tmp_path / "pulled" / "file"
    for each in (folder, source.parent):
        each.mkdir()
    (folder / "complete").touch()
    source.write_bytes((2).to_bytes(8, "little") + b"{}")

    Converter(folder, True, "", 60, 2**30).convert(source, "street.safetensors", Asked(), Told())  # noqa: FBT003

    assert not answers
    assert not (folder / "complete").exists()


def test_every_package_is_pinned() -> None:
    lines = [line for line in environment.requirements().splitlines() if line and not line.startswith("#")]
    assert all("==" in line for line in lines)
    assert any(line.startswith("torch==") and '+cpu; sys_platform == "linux"' in line for line in lines)
