"""Which of a file's inputs takes the picture, and how large it is."""

from __future__ import annotations

import pytest

from detector_grpc.errors import ModelInvalid
from detector_grpc.serving.inputs import Slot, find_slot
from detector_grpc.serving.session import Signature, TensorInfo

Shape = tuple[int | None, ...]


def signature(*inputs: tuple[str, Shape], **metadata: str) -> Signature:
    infos = tuple(TensorInfo(f"input{index}", *each) for index, each in enumerate(inputs))
    return Signature(infos, (), metadata, "sha256:0")


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("batch", [1, None])
def test_both_orders_and_every_type_are_taken(batch: int | None, dtype: str) -> None:
    slot = find_slot(signature((dtype, (batch, 3, 32, 48))), None)
    assert slot == Slot("input0", (32, 48), "the input's shape", dtype, "NCHW", None)
    assert find_slot(signature((dtype, (batch, 32, 48, 3))), None) == slot._replace(dimension_order="NHWC")


def test_an_input_for_the_size_of_the_picture_may_stand_beside_it() -> None:
    slot = find_slot(signature(("int64", (None, 2)), ("float32", (None, 3, 32, 48))), None)
    assert slot.name == "input1"
    assert slot.size == TensorInfo("input0", "int64", (None, 2))


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [("float64", (1, 3, 32, 48))],
        [("float32", (1, 1, 32, 48))],
        [("float32", (2, 3, 32, 48))],
        [("float32", (3, 32, 48))],
        [("float32", (1, 3, 32, 48)), ("float32", (1, 3, 32, 48))],
        [("float32", (1, 3, 32, 48)), ("float32", (1, 7))],
        [("float32", (1, 3, 32, 48)), ("int64", (1, 2)), ("int64", (1, 2))],
    ],
    ids=["none", "float64", "grey", "batch of two", "no batch", "two pictures", "something else", "two sizes"],
)
def test_inputs_that_no_detector_has_are_refused_and_shown(inputs: list[tuple[str, Shape]]) -> None:
    with pytest.raises(ModelInvalid) as caught:
        find_slot(signature(*inputs), None)
    assert caught.value.message.startswith("a detector has one image input")
    for index, (dtype, shape) in enumerate(inputs):
        assert f"input{index} {dtype} {list(shape)}" in caught.value.message


OPEN = ("float32", (1, 3, None, None))


@pytest.mark.parametrize(
    ("asked", "metadata", "hw", "reason"),
    [
        ((32, 48), {"imgsz": "640"}, (32, 48), "manifest.yaml"),
        (None, {"imgsz": "640"}, (640, 640), "metadata imgsz"),
        (None, {"imgsz": "[480, 640]"}, (480, 640), "metadata imgsz"),
        (None, {"imgsz": "640", "imgsz_h": "320", "imgsz_w": "352"}, (320, 352), "metadata imgsz_h"),
    ],
)
def test_a_size_that_the_shape_leaves_open_is_told_by_manifest_or_metadata(
    asked: tuple[int, int] | None, metadata: dict[str, str], hw: tuple[int, int], reason: str
) -> None:
    slot = find_slot(signature(OPEN, **metadata), asked)
    assert (slot.hw, slot.hw_reason) == (hw, reason)


@pytest.mark.parametrize("imgsz", ["", "big", "-1", "0", "[640]", "{}", "[640, null]", "6.5"])
def test_a_size_that_nobody_tells_is_asked_for(imgsz: str) -> None:
    with pytest.raises(ModelInvalid, match=r"set `input\.size: \[height, width\]`"):
        find_slot(signature(OPEN, imgsz=imgsz), None)


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 3, 64, None)])
def test_a_size_that_contradicts_the_file_is_refused(shape: Shape) -> None:
    assert find_slot(signature(("float32", shape)), (64, 64)).hw == (64, 64)
    with pytest.raises(ModelInvalid, match=r"input\.size is \[32, 64\], the file fixes \[64, "):
        find_slot(signature(("float32", shape)), (32, 64))
