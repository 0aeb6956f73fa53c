"""The network, its loss, and its weights on disk: YOLOv9 as libreyolo (MIT) has it, without what lies around that."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from libreyolo.models.yolo9.loss import YOLO9Loss
from libreyolo.models.yolo9.nn import LibreYOLO9Model
from symbols import CLASS_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

STRIDES = (8, 16, 32)
BINS = 16  # of the distribution over each distance from a cell to an edge


def build(size: str) -> LibreYOLO9Model:
    """Return a network with random weights; `size` is t (1.9 million parameters) or s (7 million)."""
    return LibreYOLO9Model(config=size, reg_max=BINS, nb_classes=len(CLASS_NAMES))


def load(network: LibreYOLO9Model, path: Path) -> None:
    """Take the weights of a file, which is a state of ours or a checkpoint of libreyolo, under the key `model`."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(content["model"])


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a file that is never seen half written."""
    unfinished = path.with_suffix(".unfinished")
    torch.save(content, unfinished)
    unfinished.replace(path)


class Criterion:
    """The loss of YOLOv9: CIoU and distribution focal loss for boxes, task-aligned cross entropy for classes."""

    def __init__(self, device: torch.device) -> None:
        self._loss = YOLO9Loss(len(CLASS_NAMES), BINS, list(STRIDES), None, device, cls_weight=1.0)

    def __call__(self, outputs: Sequence[torch.Tensor], targets: torch.Tensor, side: int) -> dict[str, torch.Tensor]:
        """Return `total_loss` and its weighted parts `box`, `cls` and `dfl`.

        Args:
            outputs: What the network gave in training mode.
            targets: float32 (batch, most codes, 5), class id and box as parts of the side; rows of zeros are no codes.
            side: Of the pictures, px.
        """
        self._loss.update_anchors([side, side])
        parts: dict[str, torch.Tensor] = self._loss([output.float() for output in outputs], targets)
        return parts


class Average:
    """An exponential moving average of the weights, which detects better than the last ones.

    Args:
        network: Its weights are where it starts.
        decay: Part that stays in each step, later on; at first it is less.
    """

    def __init__(self, network: LibreYOLO9Model, decay: float = 0.998) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        self._decay = decay
        self._pairs = [
            (mean, value)
            for mean, value in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True)
            if mean.is_floating_point()
        ]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step number `step`, counted from 1."""
        decay = self._decay * (1 - np.exp(-step / 200))
        means, values = zip(*self._pairs, strict=True)
        torch._foreach_lerp_(list(means), list(values), 1 - decay)


def collate(
    views: Sequence[tuple[NDArray[np.uint8], NDArray[np.float32]]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pictures, float32 (batch, 3, side, side) in [0, 1], and targets for `Criterion`."""
    pictures = torch.from_numpy(np.stack([picture for picture, _ in views])).to(device)
    most = max(1, *(len(codes) for _, codes in views))  # more rows than needed would cost as much as the network
    targets = torch.zeros(len(views), most, 5)
    for row, (_, codes) in enumerate(views):
        targets[row, : len(codes)] = torch.from_numpy(codes)
    return pictures.permute(0, 3, 1, 2).float() / 255, targets.to(device)
