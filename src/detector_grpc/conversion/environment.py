"""The environment in which checkpoints are converted: PyTorch for processors, which no server needs.

It is made once, by pip, in the user's folder for things that can be made again, and made anew where another release
wants other packages, or where making it was cut off.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from importlib.resources import files
from typing import TYPE_CHECKING, Protocol

from detector_grpc.conversion.child import run
from detector_grpc.conversion.refusal import ConversionFailed
from detector_grpc.lock import locked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Seconds that installing may take.
_TIMEOUT_S = 3600.0

_COMPLETE = "complete"


class Watcher(Protocol):
    """Is told how it goes."""

    def begins(self, what: str) -> None:
        """What takes a while, for people."""

    def goes_on(self, line: str) -> None:
        """What a program that is run for it has said."""


def python_in(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / "bin" / "python"


def requirements() -> str:
    """What is installed, as pip reads it."""
    return (files("detector_grpc.conversion") / "requirements.txt").read_text(encoding="utf-8")


def made(folder: Path, index: str, watcher: Watcher) -> Path:
    """The interpreter of our own environment, which is made if it is not there whole.

    Args:
        folder: Where it is.
        index: Address of an index that has PyTorch for processors; empty for none but pip's own.
        watcher: Is told how it goes.

    Raises:
        ConversionFailed: It cannot be made.
    """
    text = requirements()
    wanted = hashlib.sha256(f"{sys.version_info[:2]} {text}".encode()).hexdigest()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.parent):
            if _content(folder / _COMPLETE) != wanted:
                _make(folder, text, index, watcher)
                (folder / _COMPLETE).write_text(wanted, encoding="utf-8")
    except BlockingIOError:
        raise ConversionFailed("another process is making the environment for conversion; wait for it") from None
    except OSError as error:
        raise ConversionFailed(_cannot(folder, f"{error.strerror}")) from error
    return python_in(folder)


def discard(folder: Path) -> None:
    """Has our own environment made anew when it is wanted next."""
    (folder / _COMPLETE).unlink(missing_ok=True)


def _make(folder: Path, text: str, index: str, watcher: Watcher) -> None:
    watcher.begins(f"Making the environment for conversion in {folder}, once: PyTorch and libreyolo, 1.5 GB")
    shutil.rmtree(folder, ignore_errors=True)
    _run(folder, (sys.executable, "-m", "venv", folder), watcher)
    wanted = folder / "requirements.txt"
    wanted.write_text(text, encoding="utf-8")
    options = ("--no-deps", "--no-input", "--disable-pip-version-check", "--progress-bar", "off")
    indexes = ("--extra-index-url", index) if index else ()
    _run(folder, (python_in(folder), "-I", "-m", "pip", "install", *options, *indexes, "-r", wanted), watcher)


def _run(folder: Path, command: Sequence[str | Path], watcher: Watcher) -> None:
    ended = run(command, folder.parent, os.environ, _TIMEOUT_S, watcher.goes_on)  # noqa: TID251 - handed on as a whole, for pip
    if ended.is_late:
        raise ConversionFailed(_cannot(folder, f"it took more than {_TIMEOUT_S:.0f} s"))
    if ended.code:
        errors = [line for line in ended.last_lines if line.startswith("ERROR:")] or [*ended.last_lines][-3:]
        raise ConversionFailed(_cannot(folder, " ".join(line.removeprefix("ERROR: ") for line in errors)))


def _cannot(folder: Path, why: str) -> str:
    return (
        f"the environment for conversion cannot be made in {folder}: {why}\n"
        "It takes a network, once, and 1.5 GB. Where there is a proxy, set HTTPS_PROXY; where there is a mirror of "
        "Python packages, PIP_INDEX_URL, and --conversion-index for PyTorch. Where there is neither, bring an "
        "environment that has PyTorch and libreyolo, and name it: --conversion-environment FOLDER."
    )


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
