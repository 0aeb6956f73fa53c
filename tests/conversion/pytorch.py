"""What only PyTorch can do for the tests: run by the Python of the environment for conversion, which has no pytest.

python pytorch.py train FOLDER      trains a detector on drawn pictures, and saves it in every form there is
python pytorch.py draw FOLDER NUMBER     draws pictures that it has not seen
python pytorch.py find CHECKPOINT PICTURES CONFIDENCE    what libreyolo finds itself, JSON
python pytorch.py stir FAMILY SIDE FOLDER    saves a detector of a family that finds things, what it finds, and pictures
"""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2] / "src" / "detector_grpc" / "conversion"))

import worker

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 128
STEPS, BATCH, BOXES = 90, 8, 3
# Height and width, to be padded: a detector that never saw padding finds things in it.
SHAPES = ((SIDE, SIDE), (96, SIDE), (SIDE, 80))
BOX_SIDES = 4
STIRRED_CLASSES = 5
# PicoDet tells the distance of each side by 8 numbers, in the same layer as the classes.
PICODET_SIDES = 8 * BOX_SIDES
CLASS_NAMES = {0: "disc", 1: "box", 2: "ring"}


def drawn(random: np.random.Generator, height: int, width: int) -> tuple[NDArray[np.uint8], list[list[float]]]:
    """A picture, RGB, and what is drawn in it: class, and corners as parts of its sides."""
    picture = random.integers(0, 90, (height // 8, width // 8, 3), dtype=np.uint8)
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    boxes = []
    for column in random.permutation(BOXES)[: random.integers(1, BOXES + 1)]:
        class_id = int(random.integers(len(CLASS_NAMES)))
        radius = int(random.integers(min(height, width) // 10, min(height, width) // 6))
        x = int((column + 0.5) * width / BOXES)
        y = int(random.integers(2 * radius, height - 2 * radius))
        color = [int(value) for value in random.integers(150, 256, 3)]
        if class_id == 1:
            cv2.rectangle(picture, (x - radius, y - radius), (x + radius, y + radius), color, -1)
        else:
            cv2.circle(picture, (x, y), radius, color, -1 if class_id == 0 else max(2, radius // 3))
        boxes.append(
            [class_id, (x - radius) / width, (y - radius) / height, (x + radius) / width, (y + radius) / height]
        )
    return picture, boxes


def draw(folder: Path, number: int) -> None:
    """Draws pictures whose sides need no rounding when they are made to fit.

    libreyolo maps boxes back by the ratio that it has asked for, and a server by the one that became of it.
    """
    random = np.random.default_rng(1)
    for index in range(number):
        height, width = (*SHAPES, (240, 320), (256, 192))[index % 5]
        cv2.imwrite(str(folder / f"{index:02}.png"), drawn(random, height, width)[0][:, :, ::-1])


def train(folder: Path) -> None:
    """Trains for a minute: enough to be sure of some boxes, and unsure of others."""
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    torch.set_flush_denormal(True)  # the first steps would take a minute
    model = worker.libreyolo().LibreYOLO9(None, size="t", nb_classes=len(CLASS_NAMES), device="cpu")
    model.names = CLASS_NAMES
    network = model.model.train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.2  # of so few steps it has to learn the means
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3)
    for _ in range(STEPS):
        pictures, targets = [], torch.zeros(BATCH, BOXES, 5)
        for row in range(BATCH):
            height, width = SHAPES[row % len(SHAPES)]
            picture, boxes = drawn(random, height, width)
            pictures.append(np.full((SIDE, SIDE, 3), 114, np.uint8))
            pictures[-1][:height, :width] = picture
            scale = torch.tensor([1, width / SIDE, height / SIDE, width / SIDE, height / SIDE])
            targets[row, : len(boxes)] = torch.tensor(boxes) * scale
        batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        loss = network(batch, targets=targets)["total_loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    model.save(str(folder / "trained.pt"))
    torch.save(network.state_dict(), folder / "bare.pt")
    torch.save(network, folder / "whole.pt")
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / "bare.safetensors")
    blank = torch.zeros(1, 3, SIDE, SIDE)
    program = _Program(network).eval()
    with torch.no_grad():
        program(blank)  # the network remembers where its cells lie
        traced = torch.jit.trace(program, blank, check_trace=False)
    torch.jit.save(traced, folder / "traced.torchscript")
    torch.export.save(torch.export.export(program, (blank,)), folder / "exported.pt2")
    _save_what_is_refused(folder)


def _save_what_is_refused(folder: Path) -> None:
    foreign = {"layer.weight": torch.zeros(3, 3)}
    torch.save(foreign, folder / "foreign.pt")
    save_file(foreign, folder / "other.safetensors")
    torch.jit.save(torch.jit.script(_Classifier()), folder / "classifier.torchscript")
    torch.jit.save(torch.jit.script(_Strange()), folder / "strange.torchscript")
    batch = {0: torch.export.Dim("batch", min=1, max=8)}
    program = torch.export.export(_Classifier(), (torch.zeros(2, 3, SIDE, SIDE),), dynamic_shapes=(batch,))
    torch.export.save(program, folder / "open.pt2")
    # What only PyTorch's reader of weights refuses: a call of torch.save, which writes a file.
    path = str(folder / "exploded").encode()
    sly = b"\x80\x02ctorch\nsave\n(}X" + len(path).to_bytes(4, "little") + path + b"tR."
    _with_pickle(folder / "foreign.pt", folder / "sly.pt", "data.pkl", sly)
    buffer = io.BytesIO()
    torch.save({}, buffer)
    _with_pickle(buffer, inner := io.BytesIO(), "data.pkl", sly)
    _with_pickle(folder / "exported.pt2", folder / "sly.pt2", "data/sample_inputs/model.pt", inner.getvalue())


def _with_pickle(source: Path | io.BytesIO, target: Path | io.BytesIO, name: str, content: bytes) -> None:
    """Copies an archive, with another content of one of its files."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.namelist():
            new.writestr(entry, content if entry.partition("/")[2] == name else old.read(entry))


class _Program(torch.nn.Module):
    """The detector as others write it: one array, corners and probabilities."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        outputs = self.network(pictures)
        return outputs["predictions"] if isinstance(outputs, dict) else outputs


class _Classifier(torch.nn.Module):
    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.mean(dim=[2, 3])


class _Strange(torch.nn.Module):
    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(pictures).real


def find(checkpoint: Path, pictures: Path, confidence: float) -> list[dict[str, Any]]:
    """What libreyolo finds in each picture, in the order of their names."""
    return _found(checkpoint, pictures, conf=confidence, imgsz=SIDE, iou=0.5, max_det=300)


def _found(checkpoint: Path, pictures: Path, **options: object) -> list[dict[str, Any]]:
    model = worker.libreyolo().LibreYOLO(str(checkpoint), device="cpu")
    model.model.eval()  # libreyolo leaves some in training, which then see all pictures at once
    _suppress()
    found = []
    for path in sorted(pictures.iterdir()):
        boxes = model(str(path), **options).boxes
        found.append(
            {
                "xyxy": boxes.xyxy.tolist(),
                "confidence": boxes.conf.tolist(),
                "class_id": [int(each) for each in boxes.cls.tolist()],
            }
        )
    return found


def stir(family: str, side: int, folder: Path) -> None:
    """Saves a detector with random weights: no good one, but one that sees differences, and is sure of some boxes.

    Of its classes there are as many as no other layer has outputs, so that those of classes can be told.
    """
    (pictures := folder / "pictures").mkdir()
    _draw_for_any_resizing(pictures, side)
    registry = importlib.import_module("libreyolo.models.base").BaseModel._registry
    kind = next(each for each in registry if family == each.FAMILY)
    torch.manual_seed(0)
    model = kind(None, size=next(iter(kind.INPUT_SIZES)), nb_classes=STIRRED_CLASSES, device="cpu")
    network = model.model.eval()
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:  # else nothing of the picture is left behind them
        norm.train().momentum = None
        norm.reset_running_stats()
    with torch.no_grad():
        model._forward(torch.cat([model._preprocess(str(path), input_size=side)[0] for path in pictures.iterdir()]))
    for module in network.eval().modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            _stir(module)
    model.save(str(folder / f"{family}.pt"))
    found = _found(folder / f"{family}.pt", pictures, conf=0.25, imgsz=side, iou=1.0, max_det=1000)
    (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")


def _stir(layer: torch.nn.Linear | torch.nn.Conv2d) -> None:
    """Makes what tells classes differ by class, and what tells boxes tell larger ones; what is empty is filled."""
    outputs, inputs = layer.weight.shape[0], layer.weight[0].numel()
    if outputs in (STIRRED_CLASSES, STIRRED_CLASSES + PICODET_SIDES):
        torch.nn.init.normal_(layer.weight, std=inputs**-0.5)
        torch.nn.init.normal_(layer.bias, -2.5, 1)
    elif outputs == BOX_SIDES:
        torch.nn.init.normal_(layer.weight, std=0.2 * inputs**-0.5)
        torch.nn.init.constant_(layer.bias, 1.5)
    elif not layer.weight.any():
        torch.nn.init.normal_(layer.weight, std=0.02)
    elif outputs == 1:  # whether there is anything at all
        torch.nn.init.constant_(layer.bias, 6)


def _draw_for_any_resizing(folder: Path, side: int) -> None:
    """Draws two of the size of the input, and two of stripes, which every filter makes larger in the same way."""
    random = np.random.default_rng(1)
    for index, (height, width) in enumerate(((side, side), (side, side), (side // 2, side), (side, side * 5 // 8))):
        picture = drawn(random, height, width)[0]
        if height < side:
            picture[:] = picture[height // 2]
        elif width < side:
            picture[:] = picture[:, width // 2, None]
        cv2.imwrite(str(folder / f"{index}.png"), picture[:, :, ::-1])


def _suppress() -> None:
    """Lets libreyolo suppress where the operators of torchvision cannot be loaded."""
    if torch._C._dispatch_has_kernel_for_dispatch_key("torchvision::nms", "CPU"):
        return
    torchvision = importlib.import_module("torchvision")

    def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
        left, kept = scores.argsort(descending=True, stable=True), []
        while len(left):
            kept.append(left[0])
            ious = torchvision.ops.box_iou(boxes[left[:1]], boxes[left[1:]])[0]
            left = left[1:][ious <= iou_threshold]
        return torch.stack(kept) if kept else left

    worker._operators().impl("nms", nms, "CPU")
    torchvision.extension._has_ops = lambda: True


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    match command:
        case "train":
            train(Path(arguments[0]))
        case "draw":
            draw(Path(arguments[0]), int(arguments[1]))
        case "stir":
            worker.libreyolo()
            stir(arguments[0], int(arguments[1]), Path(arguments[2]))
        case "find":
            found = find(Path(arguments[0]), Path(arguments[1]), float(arguments[2]))
            print(json.dumps(found), file=answers, flush=True)
