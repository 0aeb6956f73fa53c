"""Whether days and nights of cameras are one world, and one knocked camera of hundreds is named.

Each camera sees one photo, under the light of a day and the weather of that day, with noise that resembles the noise
before. First 300 cameras, each observed twice a minute, of which one is turned; then 20 cameras for 14 days, each
observed every five minutes, of which the first two are learned from. Nothing is detected; boxes are drawn by chance.
Prints every state but STABLE, and when it began. Needs `shared/data` beside the project; run it as
`PYTHONPATH=tests python benchmarks/drift_cameras.py`.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from rich.console import Console
from support.reference import DATA

from detector_grpc.drift.evidence import DriftState
from detector_grpc.drift.features import NAMES
from detector_grpc.drift.monitor import Bounds, Monitor
from detector_grpc.drift.observation import Observation, Watched
from detector_grpc.drift.series import Shape
from detector_grpc.drift.simulator import SHIFTS
from detector_grpc.drift.status import status
from detector_grpc.vision.picture_statistics import PictureStatistics, picture_statistics
from detector_grpc.vision.sample import sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

WATCHED = Watched("cameras", "v1")
DAY_S, HOUR_S = 86400.0, 3600.0
NINE_S = 1_700_000_000 // 86_400 * 86_400 + 9 * HOUR_S
LIGHTS = np.linspace(0.12, 1, 12)
SIZE_WH = (640, 360)

# Of the noise of each statistic, which keeps nine tenths of itself from observation to observation.
SIGMAS = PictureStatistics(2, 1, 0.01, 0.3, 0.3, 1.5, 1.5, 0.01, 0.01, 0.05, 0.05, 0.02)
KEPT = 0.9


class Cameras(NamedTuple):
    """What cameras see.

    Attributes:
        seen: float64 (C, L, S), statistics of each camera at each of `LIGHTS`.
        people: float64 (C,), boxes that each sees on average.
    """

    seen: NDArray[np.float64]
    people: NDArray[np.float64]

    @classmethod
    def of_photos(cls, count: int, rng: np.random.Generator, *, turned: int | None = None) -> Cameras:
        """One photo each, more than once where there are too few, then mirrored; one camera may be turned."""
        files = sorted([*DATA.glob("photos/*.jpg"), *DATA.glob("voc100/images/*.jpg")])
        seen = []
        for number in range(count):
            image = cv2.resize(cv2.imread(str(files[number % len(files)]), cv2.IMREAD_COLOR_RGB), SIZE_WH)
            image = np.ascontiguousarray(image[:, ::-1] if number >= len(files) else image).astype(np.uint8)
            image = SHIFTS["rotation"](image, 0.5, rng) if number == turned else image
            seen.append([picture_statistics(sample((image * light).astype(np.uint8))) for light in LIGHTS])
        return cls(np.array(seen), rng.gamma(2, 1, count))

    def observations(self, light: float, noise: NDArray[np.float64], rng: np.random.Generator) -> Iterator[Observation]:
        """One of each camera, in an order of chance."""
        above = int(np.searchsorted(LIGHTS, light).clip(1, len(LIGHTS) - 1))
        share = (light - LIGHTS[above - 1]) / (LIGHTS[above] - LIGHTS[above - 1])
        looks = self.seen[:, above - 1] * (1 - share) + self.seen[:, above] * share + noise
        for camera in rng.permutation(len(looks)):
            count = int(rng.poisson(self.people[camera]))
            boxes = {
                "detections": count,
                "confidence": rng.normal(0.7, 0.1) if count else np.nan,
                "uncertain": rng.uniform(0, 0.5) if count else np.nan,
                "box_size": rng.normal(0.2, 0.03) if count else np.nan,
                "box_x": rng.uniform(0.3, 0.7) if count else np.nan,
                "box_y": rng.uniform(0.4, 0.6) if count else np.nan,
                "aspect": SIZE_WH[0] / SIZE_WH[1],
                "size": (SIZE_WH[0] * SIZE_WH[1]) ** 0.5,
            }
            measured = dict(zip(PictureStatistics._fields, looks[camera], strict=True)) | boxes
            values = np.array([measured.get(name, np.nan) for name in NAMES], np.float32)
            yield Observation(values, {"person": count} if count else {}, f"camera {camera}")


def noisier(noise: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The noise of the next observation."""
    return KEPT * noise + np.sqrt(1 - KEPT**2) * rng.normal(size=noise.shape) * np.array(SIGMAS)


def daylight(at_s: float, weather: float) -> float:
    """Night from seven in the evening to six, with an hour of dusk."""
    hour = at_s % DAY_S / HOUR_S
    sun = 1 / (1 + np.exp(-2.2 * (hour - 6.5))) / (1 + np.exp(2.2 * (hour - 18.5)))
    return float(LIGHTS[0] + (1 - LIGHTS[0]) * sun * weather)


class Teller:
    """Prints states when they begin."""

    def __init__(self, monitor: Monitor, console: Console) -> None:
        self._monitor = monitor
        self._console = console
        self._states: dict[str, DriftState] = {}
        self.alarms: list[tuple[float, str]] = []

    def tell(self, at_s: float, when: str) -> None:
        """Prints those that have begun."""
        version = self._monitor.versions[WATCHED]
        for name, series in {"all": version.series, **version.groups}.items():
            before, self._states[name] = self._states.get(name), series.state
            if series.state is before or series.state in (DriftState.LEARNING, DriftState.STABLE):
                continue
            if series.state is DriftState.DRIFTED:
                self.alarms.append((at_s, name))
            words = "; ".join(each.words for each in status(series, at_s).features[:2])
            self._console.print(f"{when}  {name}  {series.state.name}  {words}")


def days(cameras: int, count: int, rng: np.random.Generator, console: Console) -> None:
    """Days and nights."""
    world, monitor = Cameras.of_photos(cameras, rng), Monitor(Shape(), bounds=Bounds(per_s=1e9))
    teller, noise, weather = Teller(monitor, console), np.zeros((cameras, len(SIGMAS))), 1.0
    every_s = 300.0
    for step in range(int(count * DAY_S / every_s)):
        at_s = NINE_S + step * every_s
        weather = float(rng.uniform(0.85, 1)) if at_s % DAY_S < every_s else weather
        noise = noisier(noise, rng)
        monitor.add(WATCHED, "a", list(world.observations(daylight(at_s, weather), noise, rng)), at_s)
        teller.tell(at_s, f"day {(at_s - NINE_S) / DAY_S:5.2f}")
    late = [name for at_s, name in teller.alarms if at_s - NINE_S > 2 * DAY_S]
    blocks = monitor.versions[WATCHED].series.blocks
    console.print(
        f"{cameras} cameras, {count} days, {blocks} blocks: {len(teller.alarms)} alarms, {len(late)} after two days"
    )


def knocked(cameras: int, rng: np.random.Generator, console: Console) -> None:
    """One camera is turned."""
    seed = int(rng.integers(2**31))
    calm, turned = (Cameras.of_photos(cameras, np.random.default_rng(seed), turned=which) for which in (None, 7))
    monitor, noise, begins = Monitor(Shape(), bounds=Bounds(per_s=1e9)), np.zeros((cameras, len(SIGMAS))), 110
    teller = Teller(monitor, console)
    for step in range(begins + 40):
        at_s, noise = NINE_S + 30.0 * step, noisier(noise, rng)
        world = turned if step >= begins else calm
        monitor.add(WATCHED, "a", list(world.observations(LIGHTS[-1], noise, rng)), at_s)
        teller.tell(at_s, f"{(step + 1 - begins) / 2:+6.1f} min")
    console.print(
        f"{cameras} cameras, one turned at 0 min: all of them together {monitor.versions[WATCHED].series.state.name}"
    )


def main() -> None:
    """Watches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--cameras", type=int, default=20, help="that are watched for days")
    parser.add_argument("--fleet", type=int, default=300, help="cameras of which one is turned")
    arguments = parser.parse_args()
    rng, console = np.random.default_rng(arguments.seed), Console(width=150)
    knocked(arguments.fleet, rng, console)
    days(arguments.cameras, arguments.days, rng, console)
    console.print(f"seed {arguments.seed}")


if __name__ == "__main__":
    main()
