"""A detector that was trained here finds the same after it was converted, in whichever form it was saved."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from support.calls import SERVING, connected, encoded_request
from support.onnx_files import tiny_onnx
from support.servers import server_process

from detector_grpc import settings
from detector_grpc._gen.detector.v1.detection_pb2 import DetectOptions
from detector_grpc.cli import main
from detector_grpc.conversion.environment import made, python_in
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.pipeline import EncodedImage
from detector_grpc.serving.registry import open_version
from detector_grpc.serving.repository import at
from detector_grpc.serving.session import OnnxFile
from detector_grpc.vision.boxes import iou_matrix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from click.testing import Result
    from numpy.typing import NDArray

PYTORCH = Path(__file__).with_name("pytorch.py")
SIDE, CONFIDENCE, TOLERANCE = 128, 0.25, 0.01

# Of which families a detector with random weights is compared, the sides of its input, and whether a box has one class.
FAMILIES = {
    "rtmdet": (128, True),
    "picodet": (128, True),
    "dfine": (256, True),
    "deim": (256, True),
    "rtdetrv4": (256, True),
    "ec": (256, True),
    "yolox": (128, False),
}

# What is saved, what its file does not say, and what it is called here.
FORMS = {
    "trained": ("trained.pt", "--imgsz", SIDE),
    "state": ("bare.pt", "--imgsz", SIDE, "--labels", "{labels}"),
    "safe": ("bare.safetensors", "--imgsz", SIDE, "--labels", "{labels}"),
    "slim": ("trained.pt", "--imgsz", SIDE, "--optimize"),
    "traced": ("traced.torchscript", "--imgsz", SIDE, "--manifest", "{manifest}"),
    "exported": ("exported.pt2", "--manifest", "{manifest}"),
}
NAMES = ["disc", "box", "ring"]


class Found(NamedTuple):
    """Boxes in a picture."""

    xyxy: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_id: NDArray[np.int32]


class Told:
    """Prints how it goes."""

    def begins(self, what: str) -> None:
        sys.stderr.write(f"{what}\n")

    def goes_on(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")


@pytest.fixture(scope="module")
def environment() -> Path:
    how = settings.load({}, None).conversion
    if how.environment is None:
        made(how.folder, how.index, Told())
    return how.folder


def pytorch(environment: Path, *arguments: object) -> str:
    command = [python_in(environment).absolute(), "-I", PYTORCH, *map(str, arguments)]
    done = subprocess.run(command, env={"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def saved(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints and programs of a detector that was trained for a minute."""
    folder = tmp_path_factory.mktemp("saved")
    pytorch(environment, "train", folder)
    return folder


@pytest.fixture(scope="module")
def pictures(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty that the detector has not seen, with and without padding."""
    folder = tmp_path_factory.mktemp("pictures")
    pytorch(environment, "draw", folder, 50)
    return folder


@pytest.fixture(scope="module")
def convert(environment: Path, saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    repository = tmp_path_factory.mktemp("models")

    def run(file: str, *arguments: object) -> Result:
        words = ["models", "convert", saved / file, "--models-repository", repository, *arguments]
        words += ["--conversion-environment", environment, "--admin-address", "127.0.0.1:1"]
        return CliRunner(env={"COLUMNS": "200"}).invoke(main, [str(word) for word in words])

    run.repository = repository  # type: ignore[attr-defined]
    return run


@pytest.fixture(scope="module")
def converted(convert: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the detector, a version for each form."""
    folder = tmp_path_factory.mktemp("said")
    (folder / "labels.txt").write_text("\n".join(NAMES), encoding="utf-8")
    said = {"class_names": NAMES, "head": "xyxy", "input": {"resize": "letterbox_topleft"}}
    (folder / "manifest.yaml").write_text(json.dumps(said), encoding="utf-8")
    for version, (file, *arguments) in FORMS.items():
        words = [
            str(each).format(labels=folder / "labels.txt", manifest=folder / "manifest.yaml") for each in arguments
        ]
        done = convert(file, *words, "--model", "drawn", "--model-version", version)
        assert f"drawn {version} is now" in done.output
    tiny_onnx(convert.repository / "tiny" / "v1" / "model.onnx")
    return convert.repository


@pytest.fixture(scope="module")
def served(converted: Path, pictures: Path) -> Iterator[Mapping[str, Sequence[Found]]]:
    """What a server finds in the pictures with each version."""
    options = DetectOptions(confidence_threshold=CONFIDENCE, iou_threshold=0.5, multi_label=True)
    with (
        server_process(repository=converted, models_default_model="tiny") as server,
        connected(server.address) as client,
    ):
        client.wait_for_status(SERVING)
        yield {
            version: [
                _found(
                    client.detect(encoded_request(path.read_bytes(), model="drawn", version=version, options=options))
                )
                for path in sorted(pictures.iterdir())
            ]
            for version in FORMS
        }


def _found(answer: Any) -> Found:
    found = answer.detections
    boxes = [(box.x_min, box.y_min, box.x_max, box.y_max) for box in (each.bbox for each in found)]
    return Found(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([each.confidence for each in found]),
        np.array([each.class_id for each in found]),
    )


def test_libreyolo_and_the_server_find_the_same(
    environment: Path, saved: Path, pictures: Path, served: Mapping[str, Sequence[Found]]
) -> None:
    told = json.loads(pytorch(environment, "find", saved / "trained.pt", pictures, CONFIDENCE))
    originals = [Found(*(np.array(each[key]) for key in Found._fields)) for each in told]
    assert sum(len(each.confidence) for each in originals) > 50
    for version, found in served.items():
        for original, ours in zip(originals, found, strict=True):
            _assert_same(original, ours, version)


@pytest.mark.parametrize("family", FAMILIES)
def test_libreyolo_and_a_converted_model_find_the_same_with_each_family(
    environment: Path, convert: Any, tmp_path: Path, family: str
) -> None:
    side, multi_label = FAMILIES[family]
    pytorch(environment, "stir", family, side, tmp_path)

    done = convert(tmp_path / f"{family}.pt", "--imgsz", side, "--model", family, "--model-version", "v1")

    assert f"{family} v1 is now" in done.output
    # Without suppression: libreyolo clips boxes to the picture before it, and the server does after it.
    options = RequestedOptions(CONFIDENCE, 1.0, multi_label=multi_label, max_detections=1000)
    pipeline = open_version(at(convert.repository / family / "v1"), OnnxFile, 10_000_000).pipeline
    told = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    for path, each in zip(sorted((tmp_path / "pictures").iterdir()), told, strict=True):
        ours = pipeline.detect(EncodedImage(path.read_bytes()), options).detections
        original = _within(Found(*(np.array(each[key]) for key in Found._fields)), path)
        assert len(original.confidence) > 0
        _assert_same(original, Found(ours.xyxy, ours.confidence, ours.class_id), family)
    pipeline.close()


def _within(found: Found, picture: Path) -> Found:
    """Clips the boxes to the picture, which libreyolo does not in every family; none is left without an area."""
    height, width = cv2.imread(str(picture)).shape[:2]
    xyxy = np.clip(found.xyxy.reshape(-1, 4), 0, [width, height, width, height])
    kept = (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
    return Found(xyxy[kept], found.confidence[kept], found.class_id[kept])


def _assert_same(a: Found, b: Found, version: str) -> None:
    """Each box of either side has one of the other, unless its confidence is so low that the other may not tell it."""
    same = iou_matrix(a.xyxy.astype(np.float32), b.xyxy.astype(np.float32)) >= 0.99
    same &= np.abs(a.confidence[:, None] - b.confidence[None]) <= TOLERANCE
    same &= a.class_id[:, None] == b.class_id[None]
    assert (same.any(axis=1) | (a.confidence < CONFIDENCE + TOLERANCE)).all(), version
    assert (same.any(axis=0) | (b.confidence < CONFIDENCE + TOLERANCE)).all(), version


def test_names_and_sizes_are_those_of_the_checkpoint_or_what_was_said(converted: Path) -> None:
    for version in FORMS:
        told = CliRunner().invoke(main, ["models", "inspect", str(converted / "drawn" / version), "--json"])
        manifest = json.loads(told.output)["manifest"]
        assert (manifest["class_names"], manifest["input"]["size"]) == (NAMES, [SIDE, SIDE])


def test_slim_has_fewer_nodes(converted: Path) -> None:
    full, slim = (onnx.load(converted / "drawn" / version / "model.onnx") for version in ("trained", "slim"))
    assert len(slim.graph.node) < len(full.graph.node)


@pytest.mark.parametrize(
    ("file", "arguments", "words"),
    [
        ("whole.pt", (), "holds more than weights"),
        ("sly.pt", (), "to read it would run code that it holds"),
        ("sly.pt2", (), "no exported program that can be read: to read it would run code"),
        ("foreign.pt", (), "libreyolo knows no such model"),
        ("other.safetensors", (), "libreyolo knows no such model"),
        ("trained.pt", ("--imgsz", SIDE, "--opset", 99), "PyTorch cannot write it as ONNX of operator set 99"),
        ("traced.torchscript", (), "give --imgsz"),
        ("exported.pt2", ("--imgsz", 64), "and no others: leave out --imgsz"),
        ("open.pt2", (), "leaves sizes open"),
        ("strange.torchscript", ("--imgsz", SIDE), "PyTorch cannot write it as ONNX of operator set 17"),
        ("classifier.torchscript", ("--imgsz", SIDE), "no head that we know reads these outputs"),
        ("trained.pt", ("--imgsz", SIDE, "--labels", "{five}"), "has 5 class names, but there are 3 classes"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_said_and_leaves_nothing(
    convert: Any, tmp_path: Path, file: str, arguments: tuple[object, ...], words: str
) -> None:
    (tmp_path / "labels").write_text("a\nb\nc\nd\ne\n", encoding="utf-8")

    told = convert(file, *(str(each).format(five=tmp_path / "labels") for each in arguments), "--model", "refused")

    assert told.exit_code == 1
    assert words in told.output
    assert not (convert.repository / "refused").exists()
    assert not (convert.repository / ".pulls").exists()


def test_nothing_that_was_hidden_in_a_file_was_run(convert: Any, saved: Path) -> None:
    for file in ("sly.pt", "sly.pt2", "whole.pt"):
        convert(file)
    assert not (saved / "exploded").exists()


def test_memory_is_bounded(convert: Any) -> None:
    told = convert("trained.pt", "--imgsz", 8192, "--conversion-memory-bytes", 2**30)

    assert told.exit_code == 1
    assert "it takes more than 1073741824 bytes of memory" in told.output
