"""Does keeping what the model was unsure of make the next model better than keeping pictures at random?

A detector learns a narrow world: three kinds of codes, seen from the front. Then it serves a wider one, in which one
picture in five shows kinds that it has never seen. From what it served, the same number of pictures is labelled and
learnt: either those that it was least sure of, of those that the server captured, or random ones. Everything else is
equal, and all is done for several seeds. The pictures are drawn, so that their labels are the truth.

    make -C examples/codes active-learning

Every part that is done is kept in --out, and is not done again by a later call.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "codes"))

import network as nn
from curves import ARMS, BASE, read
from draw_pictures import draw_parts
from export import export
from learner import Learner
from serve import captured, choose
from validation import Validation
from views import read_batch, read_samples
from world import Framing, World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from views import Sample

SIDE = 192  # px, of the pictures and of what the network is shown
NARROW = World(
    side=SIDE, framings=(Framing(1, 0.3, 0.7, 1),), classes={"qr_code": 1, "data_matrix": 1, "linear_barcode": 1},
    materials={"paper": 1}, tilt_deg=4, bent=0, busy=0.1, look_alikes=0.2, occluded=0, roughness=0.3,
)  # fmt: skip
NEW = replace(
    NARROW, classes={"aztec": 1, "pdf417": 1}, framings=(Framing(1, 0.2, 0.8, 2),), tilt_deg=10, roughness=0.6
)
SERVED = ((NARROW, 4.0), (NEW, 1.0))  # worlds and how frequent they are in what is served
LABELS = (25, 50, 100, 200)
BATCH = 24


def fit(
    network_file: Path | None, samples: Sequence[Sample], extra: Sequence[Sample], steps: int, seed: int
) -> Learner:
    """Learn `samples`, and `extra` in half of the views where there are any; the learning rate falls as a cosine."""
    torch.manual_seed(seed)
    network = nn.build("t")
    if network_file is not None:
        nn.load(network, network_file)
    learner = Learner(network)
    for number in range(steps):
        rng = np.random.default_rng([seed, number])
        of_extra = BATCH // 2 if extra else 0
        seeds = rng.integers(2**32, size=(BATCH, 2)).tolist()
        views = [*read_batch(extra, SIDE, seeds[:of_extra]), *read_batch(samples, SIDE, seeds[of_extra:])]
        rate = 1e-3 * min(1, (number + 1) / 100) * 0.5 * (1 + np.cos(np.pi * number / steps))
        learner.step(views, SIDE, float(rate))
        print(f"\r  step {number + 1} of {steps} ", end="", flush=True)
    print()
    return learner


def learn_narrow(options: argparse.Namespace) -> None:
    """Make the first model, which is the same for all seeds, and a version of it."""
    base = options.out / "base.pt"
    version = options.out / "models" / "codes" / "v1"
    draw_parts(options.out / "narrow", 7, 1, options.narrow, ((NARROW, 1.0),), options.workers)
    if not base.exists():
        nn.save(base, fit(options.init, read_samples(options.out / "narrow"), (), options.base_steps, 0).state())
        export(base, SIDE, version / "model.onnx")


def run_seed(options: argparse.Namespace, seed: int) -> None:
    """Serve, choose, learn: for one seed, all arms and all numbers of labels."""
    folder, base = options.out / f"seed-{seed}", options.out / "base.pt"
    draw_parts(folder / "served", 10 * seed + 1, 1, options.served, SERVED, options.workers)
    draw_parts(folder / "judge", 10 * seed + 2, 1, options.judge, SERVED, options.workers)
    narrow, served = read_samples(options.out / "narrow"), read_samples(folder / "served")
    kept = folder / "captured.json"
    if not kept.exists():
        unsure = captured(options.out / "models", [sample.path for sample in served], folder / "capture")
        kept.write_text(json.dumps(unsure), encoding="utf-8")
    unsure = {int(place): score for place, score in json.loads(kept.read_text(encoding="utf-8")).items()}
    validation = Validation(folder / "judge" / "part-000", torch.device("cpu"))
    results = folder / "results.json"
    done = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    for count in (0, *options.labels):
        for arm in ARMS if count else (BASE,):
            if (name := f"{arm}-{count}") in done or time.monotonic() > options.end:
                continue
            print(f"seed {seed}: {name}")
            if count:
                extra = [served[place] for place in choose(arm, unsure, len(served), count, seed)]
                network = fit(base, narrow, extra, options.steps, seed).average.network
            else:
                network = nn.build("t")
                nn.load(network, base)
                network.eval()
            done[name] = validation.average_precision(network, SIDE)
            results.write_text(json.dumps(done, indent=1), encoding="utf-8")
            print(f"  mAP50 {done[name]['mean']:.3f}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Compare captured with random pictures at the same number of labels.")
    parser.add_argument("--out", type=Path, required=True, help="folder of everything that is made")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--labels", type=int, nargs="+", default=list(LABELS))
    parser.add_argument("--init", type=Path, help="weights to start from, instead of random ones")
    parser.add_argument("--narrow", type=int, default=1500, help="pictures of the narrow world")
    parser.add_argument("--served", type=int, default=2000, help="pictures that are served")
    parser.add_argument("--judge", type=int, default=800, help="pictures, of what is served, to judge by")
    parser.add_argument("--base-steps", type=int, default=1200, help="batches that the first model learns")
    parser.add_argument("--steps", type=int, default=120, help="batches that each next model learns")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    parser.add_argument("--threads", type=int, default=1, help="of the network")
    parser.add_argument("--minutes", type=float, default=600, help="start nothing new after so many")
    options = parser.parse_args()
    options.end = time.monotonic() + 60 * options.minutes
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    learn_narrow(options)
    for seed in range(options.seeds):
        if time.monotonic() < options.end:
            run_seed(options, seed)
    curves = read(options.out)
    curves.plot(options.out / "labels.svg")
    print(curves.table())


if __name__ == "__main__":
    main()
