"""Makes a checkpoint into an ONNX file. Run by the Python of an environment with PyTorch, which has no detector_grpc.

Reads one request from standard input, a line of JSON:

    {"source": PATH, "kind": "weights" | "safetensors" | "torchscript" | "exported", "output": PATH,
     "input_hw": [HEIGHT, WIDTH] | null, "opset": NUMBER, "memory_bytes": NUMBER, "key": TEXT}

and writes lines of JSON to standard output, {"ready": true} once all packages are there, and then
{"done": true, "key": TEXT} or {"refused": SENTENCE, "key": TEXT}, whose key tells them from what a program prints. What
else is printed goes to standard error, and so does a traceback of what nobody thought of.

A checkpoint is a pickle, and a pickle can run any code. So nothing is unpickled but by PyTorch's own reader of weights,
which knows tensors and plain values only; whoever asks for more, deep within a library, is refused.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pickle
import resource
import sys
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import torch.onnx

# Families of libreyolo whose converted models were found to find the same as libreyolo itself.
COMPARED_FAMILIES = frozenset({"deim", "dfine", "ec", "picodet", "rtdetrv4", "rtmdet", "yolo9", "yolox"})

_WOULD_RUN_CODE = "to read it would run code that it holds"
_MOST_QUOTED = 300
_NO_MEMORY = ("can't allocate memory", "not enough memory", "std::bad_alloc")


class Refused(Exception):
    """The file is not converted; the message says why."""


class _Unpickler(pickle.Unpickler):
    """In the place of pickle's own, whose subclasses it lets others make, but nobody use."""

    def __init__(self, *_arguments: object, **_options: object) -> None:
        _refuse()


def convert(request: dict[str, Any]) -> None:
    """Writes the ONNX file.

    Raises:
        Refused: The file cannot be converted.
    """
    pickle.load = pickle.loads = _refuse
    pickle.Unpickler = _Unpickler  # type: ignore[misc]
    source, output, hw = Path(request["source"]), Path(request["output"]), request["input_hw"]
    match request["kind"]:
        case "torchscript":
            _from_torchscript(source, output, hw, request["opset"])
        case "exported":
            _from_exported(source, output, hw, request["opset"])
        case _:
            _from_weights(source, output, hw, request["opset"])


@cache
def libreyolo() -> Any:  # noqa: ANN401 - a module that is not where types are checked
    """The package libreyolo.

    It imports torchvision, whose operators are compiled for the very PyTorch beside it. Where they cannot be loaded, it
    is enough for the converter that their names are known.

    Raises:
        ImportError: It is not installed, or cannot be used.
    """
    package = importlib.util.find_spec("torchvision")
    if package is None or package.origin is None:
        raise ImportError("torchvision is not installed")
    try:
        torch.ops.load_library(Path(package.origin).with_name("_C.so"))
    except OSError:
        for name in ("nms", "qnms"):
            _operators().define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("libreyolo.models")


@cache
def _operators() -> Any:  # noqa: ANN401 - as above
    """Those of torchvision, known as long as this object is there."""
    return torch.library.Library("torchvision", "DEF")


def _refuse(*_arguments: object, **_options: object) -> NoReturn:
    raise Refused(_WOULD_RUN_CODE)


def _from_weights(source: Path, output: Path, hw: list[int] | None, opset: int) -> None:
    """Of a family that libreyolo knows."""
    if source.suffix != ".safetensors":
        try:
            torch.load(source, map_location="cpu", weights_only=True)
        except Exception as error:  # of many kinds, as files can be broken
            raise Refused(f"it is not weights alone, so that {_WOULD_RUN_CODE}, or it is broken") from error
    try:
        model = libreyolo().LibreYOLO(str(source), device="cpu")
    except (AttributeError, ImportError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise Refused(f"libreyolo knows no such model: {_first_line(error)}") from error
    if model.task != "detect":
        raise Refused(f"it is a model for the task {model.task}; only detectors are served")
    if model.FAMILY not in COMPARED_FAMILIES:
        known = ", ".join(sorted(COMPARED_FAMILIES))
        raise Refused(
            f"it is of libreyolo's family {model.FAMILY}, whose converted models were never compared with their "
            f"originals; those of {known} were"
        )
    size = {} if hw is None else {"imgsz": tuple(hw)}
    try:
        written = model.export("onnx", dynamic=True, simplify=False, opset=opset, **size)
    except Exception as error:  # of another kind for each operator that it cannot write
        raise Refused(_not_written(opset, error)) from error
    Path(written).replace(output)


def _from_torchscript(source: Path, output: Path, hw: list[int] | None, opset: int) -> None:
    """What torch.jit.save wrote."""
    if hw is None:
        raise Refused("a TorchScript program does not say how large its pictures are: give --imgsz")
    try:
        program = torch.jit.load(source, map_location="cpu").eval()
    except RuntimeError as error:
        raise Refused(f"it is no TorchScript program of this PyTorch: {_first_line(error)}") from error
    _export(program, torch.zeros(1, 3, *hw), output, opset)


def _from_exported(source: Path, output: Path, hw: list[int] | None, opset: int) -> None:
    """What torch.export.save wrote."""
    try:
        exported = torch.export.load(source)
    except Exception as error:  # as above
        why = _WOULD_RUN_CODE if "weights_only" in str(error) else _first_line(error)
        raise Refused(f"it is no exported program that can be read: {why}") from error
    inputs = exported.graph_signature.user_inputs
    if len(inputs) != 1:
        raise Refused(f"a detector takes one picture, this program takes {len(inputs)} inputs")
    (picture,) = (node.meta["val"] for node in exported.graph.nodes if node.name == inputs[0])
    if hw is not None and list(picture.shape[2:]) != hw:
        raise Refused(
            f"the program takes pictures of the shape {list(picture.shape)}, and no others: leave out --imgsz"
        )
    blank = torch.zeros(*picture.shape, dtype=picture.dtype)
    exported._guards_code = []  # noqa: SLF001 - they would be run as Python
    # The writer of ONNX that needs no other packages takes traces.
    program = torch.jit.trace(exported.module(check_guards=False), blank, check_trace=False)
    _export(program, blank, output, opset)


def _export(program: Any, picture: Any, output: Path, opset: int) -> None:  # noqa: ANN401 - as above
    try:
        with torch.no_grad():
            torch.onnx.export(
                program, (picture,), str(output), dynamo=False, opset_version=opset, input_names=["images"]
            )
    except Exception as error:  # of another kind for each operator that it cannot write
        raise Refused(_not_written(opset, error)) from error


def _not_written(opset: int, error: Exception) -> str:
    return f"PyTorch cannot write it as ONNX of operator set {opset}: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:_MOST_QUOTED]


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    most = request["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        convert(request)
    except Exception as error:
        if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
            return {"refused": f"it takes more than {most} bytes of memory, the limit of conversion.memory_bytes"}
        if isinstance(error, Refused):
            return {"refused": str(error)}
        raise
    return {"done": True}


def main() -> None:
    """Answers the request."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    libreyolo()

    def say(answer: dict[str, Any]) -> None:
        """In a line of its own, whatever has been printed before it."""
        print(f"\n{json.dumps(answer)}", file=answers, flush=True)

    say({"ready": True})
    request = json.loads(sys.stdin.readline())
    say(_answer(request) | {"key": request["key"]})


if __name__ == "__main__":
    main()
