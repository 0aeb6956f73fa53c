"""Programs of PyTorch: whether what reads and runs them could be made to do more than to compute.

TorchScript is a language of its own, run without Python, some of whose operators reach files. A program that
torch.export has written is text, by which PyTorch looks up functions in Python's modules, calls them, and writes Python
code with the names in it. So what is not one of PyTorch's operators is refused, and so is a name that is more than one.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from detector_grpc.conversion.refusal import ConversionFailed

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Iterator

_MOST_TEXT_BYTES = 64 << 20

# Used, not declared: that a module has a list called `save` does no harm.
# What follows `ops` is a library of operators, of which some read and write files (torchvision's `image`).
_REACHES_OUT = re.compile(
    r"\b(from_file|save|rpc_\w+|torch\.classes)\b(?!\s*:)|\bclasses\s*[.\\#]"
    r"|(?<![\w.])ops\b(?!\.(aten|prim|torchvision|quantized)\.|\s*:)(\.\w+)?"
)

_OPERATOR = re.compile(
    r"torch\.ops\.aten\.((?!__|from_file\b|save\b)\w+|__(and|or|xor|lshift|rshift)__)\.(?!__)\w+"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|neg|pow|eq|ne|lt|le|gt|ge)"
)
_NAME = re.compile(r"[\w .,:;/+$-]*")

# What torch.export.save writes, now and before 2.8. What else may be in such an archive is C++ that is compiled, by
# the command that it brings, or objects.
_PARTS = re.compile(
    r"archive_format|archive_version|version|byteorder|\.data/\w+|models/\w+\.json"
    r"|data/(weights|constants)/(\w+_config\.json|\w+\.pt|(weight|tensor)_\d+)|data/sample_inputs/\w+\.pt|extra/.*"
    r"|serialized_(exported_program\.json|\w+\.pt)"
)

# What is only there for people and debuggers, or is not used: guards are dropped before they become code.
_NOT_USED = frozenset({"metadata", "guards_code"})

# The trees of arguments, JSON within JSON.
_TREES = frozenset({"in_spec", "out_spec"})
_TREE_TYPES = (None, "builtins.tuple", "builtins.list", "builtins.dict")
_TREE_CONTEXT = re.compile(r'null|\[("\w+"(, "\w+")*)?\]')


def check_torchscript(archive: zipfile.ZipFile) -> None:
    """Refuses a program that could reach files or other machines.

    Raises:
        ConversionFailed: It could.
    """
    for name in archive.namelist():
        if name.lower().endswith(".py") and (found := _REACHES_OUT.search(_text(archive, name))):
            raise ConversionFailed(f"its program uses {found[0]}, which can do more than compute, so it was not run")


def check_exported(archive: zipfile.ZipFile) -> None:
    """Refuses a program that is more than operators of PyTorch on tensors of known shapes.

    Raises:
        ConversionFailed: It is.
    """
    for name in archive.namelist():
        part = name.partition("/")[2] if "/" in name else name
        if not (_PARTS.fullmatch(part) or _PARTS.fullmatch(name)):
            raise ConversionFailed(f"it holds more than a program and its tensors: {name[:80]!r}")
        if name.endswith(".json"):
            for key, text in _used(json.loads(_text(archive, name))):
                _check_text(key, text)


def _check_text(key: str, text: str) -> None:
    if key == "expr_str":
        raise ConversionFailed("its program leaves sizes open: export it with fixed ones, without dynamic_shapes")
    if key in _TREES:
        _check_tree(json.loads(text))
    elif key in ("target", "as_operator"):
        if not _OPERATOR.fullmatch(text):
            raise ConversionFailed(
                f"its program calls {text[:80]!r}, which is no operator of PyTorch, so it was not run"
            )
    elif not _NAME.fullmatch(text):
        raise ConversionFailed(f"its program has a name that is none, {text[:80]!r}, so it was not run")


def _check_tree(tree: Any) -> None:  # noqa: ANN401 - JSON
    for part in tree if isinstance(tree, list) else [tree]:
        if not isinstance(part, dict):
            continue
        if part.get("type") not in _TREE_TYPES or not _TREE_CONTEXT.fullmatch(str(part.get("context") or "null")):
            raise ConversionFailed(f"its program takes or returns {str(part.get('type'))[:80]!r}, so it was not run")
        _check_tree(part.get("children_spec"))


def _used(part: Any, key: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401 - as above
    """All texts of a program, and the key of each."""
    match part:
        case str():
            yield key, part
        case list():
            for each in part:
                yield from _used(each, key)
        case dict():
            if part.get("use_pickle"):
                raise ConversionFailed("it holds objects that are no plain tensors, so it was not read")
            for name, each in part.items():
                if name not in _NOT_USED:
                    yield "", name
                    yield from _used(each, name)


def _text(archive: zipfile.ZipFile, name: str) -> str:
    with archive.open(name) as file:
        content = file.read(_MOST_TEXT_BYTES + 1)
    if len(content) > _MOST_TEXT_BYTES:
        raise ConversionFailed(f"its program has more than {_MOST_TEXT_BYTES} bytes")
    return content.decode("utf-8")
