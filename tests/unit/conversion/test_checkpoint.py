"""What could run code when it is read is refused, and nothing of it is run to find that out."""

from __future__ import annotations

import collections
import io
import json
import os
import pickle
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from detector_grpc.conversion.checkpoint import copy_program, kind_of
from detector_grpc.conversion.refusal import ConversionFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# As torch.save writes a state dict without tensors.
WEIGHTS = pickle.dumps(collections.OrderedDict(layer=1.5), protocol=2)

# A text of 4 TiB, of which nothing is there.
HUGE_TEXT = b"\x80\x02\x8d" + (2**42).to_bytes(8, "little")


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self._path,)


def archive(path: Path, files: Mapping[str, bytes | str]) -> Path:
    """An archive as PyTorch writes them."""
    with zipfile.ZipFile(path, "w") as made:
        for name, content in files.items():
            made.writestr(f"any/{name}", content)
    return path


def script(path: Path, program: str) -> Path:
    return archive(path, {"data.pkl": b"", "constants.pkl": b"", "code/a.py": program})


def exported(path: Path, change: dict[str, Any]) -> Path:
    """An exported program of one operator, or what became of it."""
    tree = '[1, {"type": "builtins.tuple", "context": "null", "children_spec": []}]'
    node = {
        "target": "torch.ops.aten.relu.default",
        "inputs": [{"name": "self", "arg": {"as_tensor": {"name": "x"}}}],
        "metadata": {"stack_trace": 'File "a.py", line 1, in f(x)'},
    }
    program = {
        "nodes": [node],
        "in_spec": tree,
        "guards_code": ["L['x'].size()[0] == 1"],
        "torch_version": "2.13.0+cpu",
    }
    node |= change.pop("node", {})
    return archive(path, {"archive_format": "pt2", "models/model.json": json.dumps(program | change)})


def said(path: Path) -> str:
    with pytest.raises(ConversionFailed) as caught:
        kind_of(path)
    return str(caught.value)


def test_kinds_are_told_by_content(tmp_path: Path) -> None:
    old = b"".join(pickle.dumps(each, protocol=2) for each in (1, 1001, {}, collections.OrderedDict(), []))
    (tmp_path / "old").write_bytes(old + b"tensors")
    header = json.dumps({"layer": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "safe").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))

    assert kind_of(archive(tmp_path / "new", {"data.pkl": WEIGHTS})) == "weights"
    assert kind_of(tmp_path / "old") == "weights"
    assert kind_of(tmp_path / "safe") == "safetensors"
    assert kind_of(script(tmp_path / "script", "x = 1")) == "torchscript"
    assert kind_of(exported(tmp_path / "exported", {})) == "exported"


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_a_bomb_is_refused_and_does_not_explode(tmp_path: Path, protocol: int) -> None:
    bomb = pickle.dumps({"model": Bomb(tmp_path / "exploded")}, protocol=protocol)

    told = said(archive(tmp_path / "bomb.pt", {"data.pkl": bomb}))

    assert "posix.mkdir" in told
    assert "it was not read" in told
    assert not (tmp_path / "exploded").exists()


def test_a_bomb_of_the_old_format_is_refused_wherever_it_lies(tmp_path: Path) -> None:
    parts = [pickle.dumps(each, protocol=2) for each in (1, 1001, {}, {}, Bomb(tmp_path / "exploded"))]
    (tmp_path / "bomb.pt").write_bytes(b"".join(parts))

    assert "posix.mkdir" in said(tmp_path / "bomb.pt")
    assert not (tmp_path / "exploded").exists()


def test_a_whole_model_is_refused_with_what_to_do(tmp_path: Path) -> None:
    whole = b"\x80\x02cultralytics.nn.tasks\nDetectionModel\n)\x81."

    told = said(archive(tmp_path / "yolo.pt", {"data.pkl": whole}))

    assert "holds more than weights: ultralytics.nn.tasks.DetectionModel" in told
    assert "`yolo export format=onnx`" in told


@pytest.mark.parametrize(
    "program",
    [
        'torch.save(x, "/etc/passwd")', 'x.save("a")', 'ops.aten.from_file("a")', '(torch.from_file)("a")',
        "x = __torch__.torch.classes.a.B", "__torch__ . torch . classes . a", "rpc_async(1)",
        'ops.image.write_file("a", x)', 'ops . image.read_file("a")',
    ],
)  # fmt: skip
def test_torchscript_that_could_reach_out_is_refused(tmp_path: Path, program: str) -> None:
    assert "was not run" in said(script(tmp_path / "a", program))


def test_torchscript_is_found_however_its_files_are_written(tmp_path: Path) -> None:
    # The reader of archives within PyTorch takes a.PY where it looks for a.py.
    files = {"data.pkl": b"", "constants.pkl": b"", "code/a.PY": 'torch.save(x, "/etc/passwd")'}
    assert "was not run" in said(archive(tmp_path / "a", files))


def test_pytorch_gets_what_was_looked_at_though_an_archive_has_two_tables(tmp_path: Path) -> None:
    # Python takes the table before the end, as long as that says it is, and PyTorch the one at the place that it names.
    good, bad = (script(tmp_path / name, f"x = {value}").read_bytes() for name, value in (("good", 1), ("bad", 2)))
    ends = [content.rindex(b"PK\5\6") for content in (good, bad)]
    starts = [struct.unpack_from("<I", content, end + 16)[0] for content, end in zip((good, bad), ends, strict=True)]
    tables = bad[starts[1] : ends[1]] + good[: ends[0]]
    end = bytearray(good[ends[0] :])
    struct.pack_into("<I", end, 16, starts[1])
    (tmp_path / "two").write_bytes(bad[: starts[1]] + tables + end)

    copy_program(tmp_path / "two", tmp_path / "copy")

    assert b"x = 1" in (tmp_path / "copy").read_bytes()
    assert b"x = 2" not in (tmp_path / "copy").read_bytes()


def test_torchscript_may_call_what_it_has_as_it_likes(tmp_path: Path) -> None:
    program = (
        "class Model(Module):\n  save : List[int]\n  classes : int\n  ops : int\n  def forward(self):\n"
        "    classes = self.classes\n    x = ops.prim.NumToTensor(self.ops)\n    return (classes).forward(x, )"
    )
    assert kind_of(script(tmp_path / "a", program)) == "torchscript"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"node": {"target": "torch.os.system"}}, "calls 'torch.os.system'"),
        ({"node": {"target": "torch.ops.aten.from_file.default"}}, "no operator of PyTorch"),
        ({"node": {"target": "torch.ops.aten.__class__.default"}}, "no operator of PyTorch"),
        ({"node": {"target": "_operator.methodcaller"}}, "no operator of PyTorch"),
        ({"arg": {"as_operator": "torch.hub.load"}}, "calls 'torch.hub.load'"),
        ({"arg": {"name": "x, y=__import__('os').system('a')"}}, "a name that is none"),
        ({"x=f()": {"name": "x"}}, "a name that is none, 'x=f()'"),
        ({"value": {"expr_str": "__import__('os').system('a')"}}, "leaves sizes open"),
        ({"out_spec": '[1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}]'}, "defaultdict"),
        ({"out_spec": '[1, {"type": "builtins.dict", "context": "[{}]", "children_spec": []}]'}, "takes or returns"),
        ({"config": {"use_pickle": True}}, "no plain tensors"),
    ],
)  # fmt: skip
def test_an_exported_program_that_is_more_than_operators_is_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    assert words in said(exported(tmp_path / "a.pt2", change))


@pytest.mark.parametrize(
    "part", ["data/aotinductor/model/a.wrapper.cpp", "data/constants/custom_obj_0", "data/constants/opaque_obj_0"]
)
def test_an_exported_program_that_brings_more_is_refused(tmp_path: Path, part: str) -> None:
    assert "more than a program and its tensors" in said(
        archive(tmp_path / "a.pt2", {"archive_format": "pt2", part: ""})
    )


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"hello", b"\x80\x02", b"\x08\0\0\0\0\0\0\0notjson!", b"PK\x03\x04x", HUGE_TEXT]
)
def test_what_is_no_checkpoint_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    assert said(tmp_path / "a.pt").startswith(("it is no checkpoint", "it is broken"))


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_compressions_that_pytorch_does_not_know_are_refused(tmp_path: Path, compression: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w", compression) as made:
        made.writestr("a/data.pkl", WEIGHTS)
    assert "is compressed in a way" in said(tmp_path / "a.pt")


@pytest.mark.parametrize(("place", "value"), [("data", b"\xff" * 8), ("flags", b"\1")])
def test_what_cannot_be_unpacked_is_broken(tmp_path: Path, place: str, value: bytes) -> None:
    name = "a/data.pkl"
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(name, WEIGHTS * 100)
    content = bytearray((tmp_path / "a.pt").read_bytes())
    table = content.index(b"PK\1\2")
    for at in {"data": [30 + len(name)], "flags": [6, table + 8]}[place]:
        content[at : at + len(value)] = value
    (tmp_path / "a.pt").write_bytes(content)

    assert "it is broken" in said(tmp_path / "a.pt")


def test_archives_that_others_may_read_otherwise_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as made:
        made.writestr("a/data.pkl", WEIGHTS)
        made.writestr("a/DATA.pkl", pickle.dumps(Bomb(tmp_path / "exploded"), protocol=2))
    assert "files of the same name" in said(tmp_path / "a.pt")


def test_compiled_code_is_refused(tmp_path: Path) -> None:
    assert "compiled code" in said(archive(tmp_path / "a.pt2", {"archive_format": "pt2", "data/model.so": b""}))


def test_a_program_that_inflates_is_not_read_whole(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a/archive_format", "pt2")
        made.writestr("a/models/model.json", " " * (65 << 20))
    (tmp_path / "a.pt2").write_bytes(buffer.getvalue())
    assert "has more than" in said(tmp_path / "a.pt2")
