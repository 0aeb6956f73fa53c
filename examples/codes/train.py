"""Train a detector of codes on drawn pictures, for as long as it becomes better, and stop and go on at any time.

    python examples/codes/train.py --pictures runs/train --validation runs/validation/part-000 --out runs/v2

The learning rate stays where it is until the curve of the average precision is flat (or `--finish` is given), then
falls to nothing over `--cool-down` pictures, which is what makes the last points. After every round `state.pt` holds
all that a later call with the same --out needs to go on; `curve.csv` and `curve.png` show how it went, and `final.pt`
appears at the end.
"""

from __future__ import annotations

import argparse
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import curve
import cv2
import network as nn
import numpy as np
import torch
from learner import Learner
from validation import Validation
from views import read_batch, read_samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from views import Sample

WARM_UP_STEPS = 200
SMALLEST_GAIN = 0.002  # of AP50; rounds that bring less leave the curve flat


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        pictures: Views learnt.
        seconds: Spent on these.
        rounds: Done.
        best: Highest mean AP50 of a round until now.
        best_round: Number of that round.
        cooling_from: Pictures at which the learning rate began to fall, or None.
    """

    pictures: int = 0
    seconds: float = 0.0
    rounds: int = 0
    best: float = 0.0
    best_round: int = 0
    cooling_from: int | None = None


class Training:
    """A learner on its way. Args: the options of `main`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._state = options.out / "state.pt"
        self._end = float("inf")
        device = torch.device(options.device)
        torch.manual_seed(options.seed)
        network = nn.build(options.size)
        if options.init is not None and not self._state.exists():
            nn.load(network, options.init)
        self.learner = Learner(network.to(device))
        self.progress = Progress()
        if self._state.exists():
            content = torch.load(self._state, map_location=device, weights_only=True)
            self.learner.restore(content)
            self.progress = Progress(**content["progress"])
            print(f"going on after {self.progress.pictures} pictures")
        if options.finish and self.progress.cooling_from is None:
            self.progress.cooling_from = self.progress.pictures
        self._validation = Validation(options.validation, device)

    def run(self, minutes: float) -> None:
        """Learn until the curve is flat and the learning rate has fallen, the time is over, or Ctrl-C or SIGTERM."""
        self._end = time.monotonic() + 60 * minutes
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        while self.cooled() < 1:
            samples = read_samples(self._options.pictures)  # there may be more than in the last round
            if not samples:
                raise SystemExit(f"there are no pictures in {self._options.pictures}: draw_pictures.py draws them")
            if not self._round(samples):
                self.save(self._state)
                print("\nstopped; the same command goes on from here")
                return
        self.save(self._options.out / "final.pt")
        print(f"done: {self._options.out / 'final.pt'}")

    def _stop(self, *_: object) -> None:
        self._end = time.monotonic()

    def _round(self, samples: Sequence[Sample]) -> bool:
        """Learn so many pictures and validate; False if the time was over before."""
        losses: list[dict[str, float]] = []
        goal = self.progress.pictures + self._options.round
        last = time.monotonic()
        for side, views in batches(samples, self._options, self.learner.steps):
            losses.append(self.learner.step(views, side, self.learning_rate()))
            now = time.monotonic()
            self.progress.pictures += len(views)
            self.progress.seconds += now - last
            last = now
            if self.progress.pictures >= goal or self.cooled() >= 1:
                break
            if now >= self._end:
                return False
            loss = losses[-1]["total_loss"]
            print(f"\r{self.progress.pictures:>8} pictures, loss {loss:.2f} ", end="", flush=True)
        self._judge(losses)
        return True

    def _judge(self, losses: Sequence[dict[str, float]]) -> None:
        """Validate, see whether the curve is flat, and write all of it."""
        progress, sides = self.progress, sorted({min(self._options.sides), max(self._options.sides)})
        found = {side: self._validation.average_precision(self.learner.average.network, side) for side in sides}
        mean = float(np.mean([by_class["mean"] for by_class in found.values()]))
        progress.rounds += 1
        if mean > progress.best + SMALLEST_GAIN:
            progress.best, progress.best_round = mean, progress.rounds
        is_flat = progress.rounds - progress.best_round >= self._options.patience
        if progress.cooling_from is None and is_flat:
            progress.cooling_from = progress.pictures
        row: dict[str, float] = {"pictures": progress.pictures, "seconds": round(progress.seconds)}
        row |= {"learning_rate": self.learning_rate(), "cooled": round(self.cooled(), 3)}
        row |= {name: round(float(np.mean([each[name] for each in losses])), 4) for name in losses[0]}
        for side, by_class in found.items():
            row |= {f"ap50_{name}_{side}": round(value, 4) for name, value in by_class.items()}
        curve.append(self._options.out, row, sides)
        self.save(self._state)
        scores = ", ".join(f"{by_class['mean']:.3f} at {side} px" for side, by_class in found.items())
        print(f"\r{progress.pictures:>8} pictures, loss {row['total_loss']:.2f}, AP50 {scores}")

    def learning_rate(self) -> float:
        """Return what it is now: it rises at first, and falls by 1 - sqrt at the end.

        Haegele and others, "Scaling laws and compute-optimal training beyond fixed training durations", NeurIPS 2024.
        """
        warm = min(1.0, (self.learner.steps + 1) / WARM_UP_STEPS)
        return float(self._options.learning_rate * warm * (1 - np.sqrt(self.cooled())))

    def cooled(self) -> float:
        """Return how far the learning rate has fallen, from 0 to 1."""
        if self.progress.cooling_from is None:
            return 0.0
        return min(1.0, (self.progress.pictures - self.progress.cooling_from) / self._options.cool_down)

    def save(self, path: Path) -> None:
        """Write all that is needed to go on, or to export."""
        content = {**self.learner.state(), "progress": asdict(self.progress), "size": self._options.size}
        nn.save(path, content)


def batches(samples: Sequence[Sample], options: argparse.Namespace, number: int) -> Iterator[tuple[int, list[Any]]]:
    """Yield side and views of one batch after the other, each read while others are learnt.

    What is in a batch follows from the seed, its number, and the pictures that there are.
    """

    def read(number: int) -> tuple[int, list[Any]]:
        side = int(np.random.default_rng([options.seed, number]).choice(options.sides))
        count = max(2, round(options.megapixels * 1e6 / side**2))
        return side, read_batch(samples, side, [[options.seed, number, place] for place in range(count)])

    with ThreadPoolExecutor(options.loaders) as threads:
        ahead = [threads.submit(read, number + place) for place in range(options.loaders + 1)]
        try:
            while True:
                number += 1
                ahead.append(threads.submit(read, number + options.loaders))
                yield ahead.pop(0).result()
        finally:
            threads.shutdown(cancel_futures=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a detector of machine-readable codes.")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of drawn parts; more may come meanwhile")
    parser.add_argument("--validation", type=Path, required=True, help="one drawn part, of another seed")
    parser.add_argument("--out", type=Path, required=True, help="folder of this training")
    parser.add_argument("--size", choices=("t", "s"), default="t", help="of the network")
    parser.add_argument("--sides", type=int, nargs="+", default=[416, 512, 640], help="of the views; multiples of 32")
    parser.add_argument("--init", type=Path, help="weights to start from, instead of random ones")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--megapixels", type=float, default=1.64, help="in a batch: 16 pictures of 320 px, 4 of 640 px")
    parser.add_argument("--round", type=int, default=4000, help="pictures between two points of the curve")
    parser.add_argument("--patience", type=int, default=5, help="rounds without a gain that make a flat curve")
    parser.add_argument("--cool-down", type=int, default=20000, help="pictures over which the learning rate falls")
    parser.add_argument("--finish", action="store_true", help="let it fall from now on")
    parser.add_argument("--minutes", type=float, default=600, help="stop after so many; it can go on later")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="or cuda")
    parser.add_argument("--threads", type=int, default=2, help="of the network, on a CPU")
    parser.add_argument("--loaders", type=int, default=1, help="threads that read pictures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    Training(options).run(options.minutes)


if __name__ == "__main__":
    main()
