"""What a file of PyTorch is, and whether to read it could run code: told by looking at it, without PyTorch.

A checkpoint is a pickle, which imports whatever it names and calls it. What PyTorch's own reader of weights refuses is
refused here already, with the names of what is in it, before a gigabyte is installed to read it. That reader is asked
all the same: it is the one that decides.
"""

from __future__ import annotations

import json
import pickletools
import re
import shutil
import zipfile
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Literal

from detector_grpc.conversion.programs import check_exported, check_torchscript
from detector_grpc.conversion.refusal import ConversionFailed
from detector_grpc.errors import listed
from detector_grpc.hub.download import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Kind = Literal["weights", "safetensors", "torchscript", "exported"]

_ARCHIVE = b"PK\x03\x04"
_PICKLE = b"\x80\x02"

# github.com/huggingface/safetensors: the header's size, 8 bytes with the least first, and the header, JSON.
_SIZE_BYTES, _MOST_HEADER_BYTES = 8, 100_000_000

# Pickles at the beginning of a file of PyTorch before 1.6: two numbers, the machine, the object, keys of its tensors.
_OLD_PICKLES = 5

# What torch/_weights_only_unpickler.py lets a pickle name.
_OF_WEIGHTS = re.compile(
    r"collections\.(OrderedDict|Counter)|_codecs\.encode|(builtins|__builtin__)\.(bytearray|set|complex)"
    r"|torch\.(\w+|_utils\._rebuild_\w+|_tensor\._rebuild_from_type_v2|nn\.parameter\.Parameter|storage\.\w+"
    r"|cuda\.\w+|serialization\._get_layout)"
)

# In archives, below a folder of any name.
_PROGRAM, _OBJECT = "constants.pkl", "data.pkl"
_EXPORTED = ("archive_format", "serialized_exported_program.json")
_COMPILED = (".so", ".cubin", ".dll", ".dylib")

# What the reader of archives within PyTorch knows.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

_UNKNOWN = (
    "it is no checkpoint, TorchScript program or exported program of PyTorch, and no file of safetensors. An ONNX file "
    "needs no conversion: `models pull file:///…`"
)


def kind_of(path: Path) -> Kind:
    """What a file is.

    Raises:
        ConversionFailed: Nothing that can be converted, or reading it could run code.
        OSError: It cannot be read.
    """
    with _told_if_broken(), path.open("rb") as file:
        start = file.read(len(_ARCHIVE))
        file.seek(0)
        if start == _ARCHIVE:
            return _kind_of_archive(file)
        if start.startswith(_PICKLE):
            for _ in range(_OLD_PICKLES):
                _check_pickle(file)
            return "weights"
        if _is_safetensors(file):
            return "safetensors"
    raise ConversionFailed(_UNKNOWN)


def copy_program(path: Path, target: Path) -> None:
    """Writes the archive of a program anew.

    An archive can have two tables of contents, of which PyTorch may read the one that was not looked at. The copy has
    only what was.

    Raises:
        ConversionFailed: It is broken, or inflates.
        OSError: It cannot be read, or not be written there.
    """
    with _told_if_broken(), zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as new:
        if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
            raise ConversionFailed(f"unpacked it has more than {MOST_BYTES} bytes")
        for name in archive.namelist():
            with archive.open(name) as file, new.open(name, "w") as copy:
                shutil.copyfileobj(file, copy)


@contextmanager
def _told_if_broken() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, MemoryError, RuntimeError, ValueError) as error:
        raise ConversionFailed(f"it is broken: {str(error) or type(error).__name__}") from error


def _kind_of_archive(file: IO[bytes]) -> Kind:
    with zipfile.ZipFile(file) as archive:
        if any(entry.compress_type not in _COMPRESSIONS for entry in archive.infolist()):
            raise ConversionFailed("it is compressed in a way that PyTorch does not know")
        entries = {name.partition("/")[2] or name: name for name in archive.namelist()}
        if len({name.lower() for name in entries}) < len(archive.namelist()):
            raise ConversionFailed("it has files of the same name, of which others may read another one")
        if any(name.endswith(_COMPILED) for name in entries):
            raise ConversionFailed(
                "it holds compiled code, which is not run; convert the program before it is compiled"
            )
        if not entries.keys().isdisjoint(_EXPORTED):
            check_exported(archive)
            return "exported"
        if _PROGRAM in entries:
            check_torchscript(archive)
            return "torchscript"
        if _OBJECT not in entries:
            raise ConversionFailed(_UNKNOWN)
        with archive.open(entries[_OBJECT]) as pickle:
            _check_pickle(pickle)
    return "weights"


def _is_safetensors(file: IO[bytes]) -> bool:
    size = int.from_bytes(file.read(_SIZE_BYTES), "little")
    if size > _MOST_HEADER_BYTES:
        return False
    header = file.read(size)
    return header.startswith(b"{") and isinstance(json.loads(header), dict)


def _check_pickle(file: IO[bytes]) -> None:
    """Refuses one that names more than tensors and plain values; the file is behind it afterwards."""
    foreign = sorted({name for name in _named(file) if not _OF_WEIGHTS.fullmatch(name)})
    if foreign:
        raise ConversionFailed(
            f"it holds more than weights: {listed(foreign, most=3)}. To read that would run code that it names, so it "
            f"was not read. {_advice(foreign)}"
        )


def _named(file: IO[bytes]) -> Iterator[str]:
    """What a pickle imports."""
    texts: list[str] = []
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".")
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(texts[-2:])
        elif isinstance(argument, str):
            texts.append(argument)


def _advice(names: list[str]) -> str:
    if any(name.startswith(("ultralytics.", "models.")) for name in names):
        return (
            "The whole model was saved, not its weights: export it to ONNX by the program that has trained it "
            "(`yolo export format=onnx`), and `models pull` that file"
        )
    return "Where it was made, `torch.save(model.state_dict(), path)` writes weights alone"
