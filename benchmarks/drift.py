"""Whether drift is called when it should be, and only then: real photos and videos, with a real detector.

Prints how often an unchanged world was called drifted, and after how many observations each change of it was, by its
strength, and what was named first. Needs `shared/data` beside the project. To be run with the tests' own parts at
hand: `PYTHONPATH=tests python benchmarks/drift.py`; what the detector says of pictures takes most of the time, and is
kept with `--keep FILE`.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from support.drift import NOON_S, as_if_live
from support.reference import DATA, coco_repository
from support.video import read_video

from detector_grpc.configured import open_file
from detector_grpc.drift.evidence import DriftState
from detector_grpc.drift.observation import Observation, observe
from detector_grpc.drift.series import Series, Shape
from detector_grpc.drift.simulator import SHIFTS
from detector_grpc.drift.status import status
from detector_grpc.serving.options import RequestedOptions
from detector_grpc.serving.pipeline import RawImage
from detector_grpc.serving.registry import open_version
from detector_grpc.serving.repository import scan
from detector_grpc.settings import defaults
from detector_grpc.vision.sample import sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Look = Callable[[Image], Observation]

SHAPE = Shape(learn_days_s=0)
STRENGTHS = (1.0, 0.5, 0.25, 0.125)
VIDEOS = ("people.mp4", "bottles.mp4")
REFERENCE, WINDOW, MOST = SHAPE.first * SHAPE.block, 500, 2000


class World(NamedTuple):
    """Pictures as they are, and as they would be.

    Attributes:
        calm: Of every picture, in order.
        changed: The same of some pictures, by the change and its strength.
        in_a_row: Whether a picture resembles the one before.
    """

    calm: list[Observation]
    changed: dict[tuple[str, float], list[Observation]]
    in_a_row: bool

    def pieces(self, rng: np.random.Generator) -> Iterator[Observation]:
        """The world, for ever: by chance, or in pieces of the length of a block."""
        while True:
            if self.in_a_row:
                start = int(rng.integers(len(self.calm) - SHAPE.block))
                yield from self.calm[start : start + SHAPE.block]
            else:
                yield self.calm[rng.integers(len(self.calm))]

    def changes(self, change: tuple[str, float], rng: np.random.Generator) -> Iterator[Observation]:
        """The changed world, for ever."""
        seen = self.changed[change]
        start = int(rng.integers(len(seen)))
        for number in range(10**9):
            if self.in_a_row:
                yield as_if_live(seen[(start + number // 8) % len(seen)], rng)
            else:
                yield seen[rng.integers(len(seen))]


def look_by(folder: Path) -> Look:
    """Has the COCO detector look at pictures, uint8 (H, W, 3) RGB."""
    coco_repository(folder, ["yolox_nano"])
    (source,) = scan(folder)
    loaded = open_version(source, open_file(defaults()), 50_000_000)

    def look(image: Image) -> Observation:
        height, width = image.shape[:2]
        found = loaded.pipeline.detect(RawImage(image.tobytes(), width, height, "RGB24"), RequestedOptions())
        return observe(sample(image), (width, height), found.detections, loaded.spec.class_names)

    return look


def worlds(look: Look, seed: int) -> dict[str, World]:
    """All photos, and each video."""
    files = sorted([*DATA.glob("photos/*.jpg"), *DATA.glob("voc100/images/*.jpg")])
    pictures = {"photos": [cv2.imread(str(file), cv2.IMREAD_COLOR_RGB) for file in files]}
    pictures |= {name: [np.ascontiguousarray(each) for each in read_video(DATA / "video" / name)] for name in VIDEOS}
    found, console = {}, Console(stderr=True)
    for name, images in pictures.items():
        rng, in_a_row = np.random.default_rng(seed), name in VIDEOS
        some = images[100:1100:8] if in_a_row else images[::2]
        calm = [look(image) for image in track(images, name, console=console)]
        changes = [(shift, strength) for shift in SHIFTS for strength in STRENGTHS]
        changed = {
            (shift, strength): [look(SHIFTS[shift](image, strength, rng)) for image in some]
            for shift, strength in track(changes, f"{name}, changed", console=console)
        }
        found[name] = World(calm, changed, in_a_row)
    people, others = (
        [each for each in found["photos"].calm if bool(each.classes["person"]) is has] for has in (True, False)
    )
    found["photos of people"] = World(people, {("other things", 1.0): others}, in_a_row=False)
    return found


def alarms(world: World, windows: int, rng: np.random.Generator) -> tuple[int, float]:
    """How often so many windows of an unchanged world were called drifted, and the highest ratio of all blocks."""
    series, calls, highest, before = Series(SHAPE), 0, 0.0, DriftState.LEARNING
    for _, each in zip(range(REFERENCE + windows * WINDOW), world.pieces(rng), strict=False):
        if series.add(each, NOON_S):
            calls += series.state is DriftState.DRIFTED and before is not DriftState.DRIFTED
            before = series.state
            highest = max([highest, *(deviation.ratio for deviation in series.deviations.values())])
    return calls, highest


def delay(world: World, change: tuple[str, float], rng: np.random.Generator) -> tuple[int | None, str]:
    """After how many observations a change was called, None for never, and what was named first."""
    series = Series(SHAPE)
    for _, each in zip(range(REFERENCE + int(rng.integers(100, 200))), world.pieces(rng), strict=False):
        series.add(each, NOON_S)
    for number, each in zip(range(1, MOST + 1), world.changes(change, rng), strict=False):
        series.add(each, NOON_S)
        if series.state is DriftState.DRIFTED:
            return number, status(series, NOON_S).features[0].feature.name
    return None, ""


def told(delays: Sequence[tuple[int | None, str]]) -> str:
    """Median and longest delay, and what was named first most often."""
    seen = sorted(number if number is not None else MOST + 1 for number, _ in delays)
    if seen[len(seen) // 2] > MOST:
        return "never"
    first = Counter(name for _, name in delays if name).most_common(1)[0][0]
    longest = "never" if seen[-1] > MOST else seen[-1]
    return f"{seen[len(seen) // 2]}, at most {longest}: {first}"


def main() -> None:
    """Looks, and counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--windows", type=int, default=1000, help="of 500 observations, of each unchanged world")
    parser.add_argument("--references", type=int, default=10, help="that these windows are compared with, in turn")
    parser.add_argument("--repeats", type=int, default=10, help="of each change")
    parser.add_argument("--keep", type=Path, help="file of what was seen, which is read if it is there")
    arguments = parser.parse_args()
    if arguments.keep and arguments.keep.exists():
        found: dict[str, World] = pickle.loads(arguments.keep.read_bytes())  # noqa: S301  our own
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = worlds(look_by(Path(folder)), arguments.seed)
        if arguments.keep:
            arguments.keep.write_bytes(pickle.dumps(found))
    console, rng = Console(width=150), np.random.default_rng(arguments.seed)
    calm = Table("unchanged world", "windows of 500", "alarms", "highest ratio")
    for name, world in found.items():
        each = arguments.windows // arguments.references
        counted = [alarms(world, each, rng) for _ in range(arguments.references)]
        highest = max(ratio for _, ratio in counted)
        calm.add_row(name, str(each * arguments.references), str(sum(calls for calls, _ in counted)), f"{highest:.2f}")
    console.print(calm)
    delays = Table("world", "change", *(f"strength {strength:g}" for strength in STRENGTHS))
    for name, world in found.items():
        for shift in dict.fromkeys(shift for shift, _ in world.changed):
            cells = [
                told([delay(world, (shift, strength), rng) for _ in range(arguments.repeats)])
                if (shift, strength) in world.changed
                else ""
                for strength in STRENGTHS
            ]
            delays.add_row(name, shift, *cells)
    console.print(delays)
    console.print(
        f"seed {arguments.seed}; observations until DRIFTED, median and most of {arguments.repeats}: named first"
    )


if __name__ == "__main__":
    main()
