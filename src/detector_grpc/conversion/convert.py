"""Makes a model file of a checkpoint."""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector_grpc.conversion import child
from detector_grpc.conversion.checkpoint import copy_program, kind_of
from detector_grpc.conversion.environment import discard, made, python_in
from detector_grpc.conversion.refusal import ConversionFailed, EnvironmentBroken

if TYPE_CHECKING:
    from detector_grpc.conversion.checkpoint import Kind
    from detector_grpc.conversion.environment import Watcher

DEFAULT_OPSET = 17

_SUFFIXES: dict[Kind, str] = {"weights": ".pt", "safetensors": ".safetensors", "torchscript": ".pt", "exported": ".pt2"}


@dataclass(frozen=True)
class Asked:
    """What is asked of the model file.

    Attributes:
        input_hw: Height and width of its input, px; None for the model's own.
        opset: ONNX operator set.
    """

    input_hw: tuple[int, int] | None = None
    opset: int = DEFAULT_OPSET


@dataclass(frozen=True)
class Converter:
    """Converts, in a process of its own.

    Attributes:
        environment: Folder of the environment with PyTorch and libreyolo.
        is_own: Whether that is ours, to be made and made anew.
        index: Address of an index that has PyTorch for processors; empty for none but pip's own.
        timeout_s: Most seconds that a conversion may take, without making the environment.
        memory_bytes: Most memory that it may take.
    """

    environment: Path
    is_own: bool
    index: str
    timeout_s: float
    memory_bytes: int

    def convert(self, source: Path, name: str, asked: Asked, watcher: Watcher) -> Path:
        """Makes an ONNX file beside a checkpoint, and returns it.

        Args:
            source: The checkpoint, in a folder of its own.
            name: What its file is called elsewhere, which may tell its family.
            asked: What is asked of the model file.
            watcher: Is told how it goes.

        Raises:
            ConversionFailed: None can be made of it.
            OSError: Nothing can be written there.
        """
        folder = source.parent / "conversion"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            kind = kind_of(source)
            file = folder / (Path(name).stem + _SUFFIXES[kind])
            if kind in ("torchscript", "exported"):
                copy_program(source, file)
            else:
                file.symlink_to(source.absolute())
        except ConversionFailed as error:
            raise _refused(name, str(error)) from error
        output = folder / "model.onnx"
        request = {
            "source": str(file.absolute()),
            "kind": kind,
            "output": str(output.absolute()),
            "input_hw": asked.input_hw,
            "opset": asked.opset,
            "memory_bytes": self.memory_bytes,
        }
        watcher.begins(f"Converting {name}")
        try:
            self._ask(self._python(watcher), folder, request)
        except EnvironmentBroken:
            if not self.is_own:
                raise
            discard(self.environment)
            self._ask(self._python(watcher), folder, request)
        return output

    def _python(self, watcher: Watcher) -> Path:
        if not self.is_own:
            return python_in(self.environment)
        return made(self.environment, self.index, watcher)

    def _ask(self, python: Path, folder: Path, request: dict[str, Any]) -> None:
        """Has the worker do it; what it is told of the machine is as little as it needs."""
        environment = {
            "HOME": str(folder),
            "HF_HUB_OFFLINE": "1",
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(folder),
            "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",  # goes before what a caller of torch.load asks for
        }
        key = secrets.token_hex()  # a program that is converted can print, too, but does not know it
        answers: list[dict[str, Any]] = []

        def hear(line: str) -> None:
            if (answer := _answer(line)) is not None:
                answers.append(answer)

        with as_file(files("detector_grpc.conversion") / "worker.py") as worker:
            command = (python.absolute(), "-I", worker)
            ended = child.run(
                command, folder, environment, self.timeout_s, hear, f"{json.dumps(request | {'key': key})}\n"
            )
        if ended.is_late:
            raise ConversionFailed(f"it took more than {self.timeout_s:g} s, the limit of conversion.timeout_s")
        last = ended.last_lines[-1] if ended.last_lines else f"code {ended.code}"
        if not answers:
            raise EnvironmentBroken(f"the environment {self.environment} cannot be used: {last}")
        match [answer for answer in answers if answer.get("key") == key]:
            case [{"done": True}]:
                return
            case [{"refused": str(why)}]:
                raise _refused(Path(request["source"]).name, why)
        raise ConversionFailed(f"the conversion ended with code {ended.code}: {last}")


def _refused(name: str, why: str) -> ConversionFailed:
    """What is said of it, in one line, whatever the file has in it that is quoted."""
    return ConversionFailed(f"{name} cannot be converted: {' '.join(why.split())}")


def _answer(line: str) -> dict[str, Any] | None:
    """What a line says, if it may be an answer of the worker."""
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None
