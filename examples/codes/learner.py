"""One step of learning after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import network as nn
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from libreyolo.models.yolo9.nn import LibreYOLO9Model
    from numpy.typing import NDArray

WEIGHT_DECAY = 1e-3
CLIP = 20.0  # of the norm of the gradient
LOSSES = ("total_loss", "box", "cls", "dfl")


class Learner:
    """A network, the average of its weights, and the optimizer.

    Args:
        network: On its device.

    Attributes:
        network: The same one.
        average: Its averaged weights, which are what is used in the end.
        steps: Taken until now.
    """

    def __init__(self, network: LibreYOLO9Model) -> None:
        self.network = network.train().to(memory_format=torch.channels_last)
        self.average = nn.Average(network)
        self.steps = 0
        self._device = next(network.parameters()).device
        self._criterion = nn.Criterion(self._device)
        matrices = [each for each in network.parameters() if each.ndim > 1]
        others = [each for each in network.parameters() if each.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, fused=True)

    def step(
        self, views: Sequence[tuple[NDArray[Any], NDArray[Any]]], side: int, learning_rate: float
    ) -> dict[str, float]:
        """Learn from a batch of views of `side` px; return the losses."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        pictures, targets = nn.collate(views, self._device)
        with torch.autocast(self._device.type, dtype=torch.bfloat16):
            outputs = self.network(pictures.contiguous(memory_format=torch.channels_last))
        losses = self._criterion(outputs, targets, side)
        losses["total_loss"].backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        self.average.update(self.steps)
        return {name: float(losses[name].detach()) for name in LOSSES}

    def state(self) -> dict[str, Any]:
        """All that `restore` needs; the averaged weights are under `model`, where network.load finds them."""
        return {
            "model": self.average.network.state_dict(),
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "steps": self.steps,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where another learner was."""
        self.average.network.load_state_dict(state["model"])
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]
