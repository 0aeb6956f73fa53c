"""Real photos and videos: while nothing changes nobody is told so, and what a person sees at once is seen in time.

They are not part of the project; they lie in `shared/data` beside it. benchmarks/drift.py does the same with a
detector, at full length, and with weaker changes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from support.drift import NOON_S, as_if_live
from support.reference import DATA
from support.video import read_video

from detector_grpc.drift.evidence import DriftState
from detector_grpc.drift.observation import Observation, observe
from detector_grpc.drift.series import Series, Shape
from detector_grpc.drift.simulator import SHIFTS
from detector_grpc.drift.status import status
from detector_grpc.vision.detections import Detections
from detector_grpc.vision.sample import sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the photos and videos are not beside the project")

SHAPE = Shape(learn_days_s=0)
SEED = 20_240_611
CLASS_NAMES = [str(number) for number in range(100)]

# What may be named first.
TELLING = {
    "night": {"brightness", "contrast"},
    "fog": {"contrast", "saturation", "brightness", "sharpness"},
    "defocus": {"sharpness"},
    "compression": {"blockiness"},
    "noise": {"noise"},
    "rotation": {"upper_light", "left_light", "edge_upright", "edge_slant"},
    "dead": {"brightness", "contrast", "sharpness"},
}


def look(image: NDArray[np.uint8], boxes: Sequence[tuple[list[float], int]] = ()) -> Observation:
    """Observes a picture and boxes (x, y, width, height; class)."""
    xywh = np.array([box for box, _ in boxes], np.float32).reshape(-1, 4)
    corners = np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]])
    class_id = np.array([class_id for _, class_id in boxes], np.int32)
    detections = Detections(corners, np.full(len(boxes), 0.9, np.float32), class_id)
    return observe(sample(image), image.shape[1::-1], detections, CLASS_NAMES)


@pytest.fixture(scope="module")
def photos() -> list[tuple[NDArray[np.uint8], list[tuple[list[float], int]]]]:
    """The labelled photos, RGB, and their boxes."""
    labels = json.loads((DATA / "voc100" / "annotations.json").read_text(encoding="utf-8"))
    boxes = defaultdict(list)
    for each in labels["annotations"]:
        boxes[each["image_id"]].append((each["bbox"], each["category_id"]))
    return [
        (cv2.imread(str(DATA / "voc100" / "images" / each["file_name"]), cv2.IMREAD_COLOR_RGB), boxes[each["id"]])
        for each in labels["images"]
    ]


@pytest.fixture(scope="module", params=["people.mp4", "bottles.mp4"])
def video(request: pytest.FixtureRequest) -> list[NDArray[np.uint8]]:
    return [np.ascontiguousarray(image) for image in read_video(DATA / "video" / request.param)]


def resampled(seen: Sequence[Observation], count: int, rng: np.random.Generator) -> list[Observation]:
    return [seen[number] for number in rng.integers(0, len(seen), count)]


def states(series: Series, seen: Sequence[Observation]) -> list[DriftState]:
    """After every block."""
    return [series.state for each in seen if series.add(each, NOON_S)]


def delay(series: Series, seen: Sequence[Observation]) -> int:
    """Number of the observation with which it was drifted, from 1."""
    for number, each in enumerate(seen, 1):
        series.add(each, NOON_S)
        if series.state is DriftState.DRIFTED:
            return number
    raise AssertionError(f"not drifted but {series.state}: {status(series, NOON_S).features[:3]}")


def test_photos_of_one_kind_are_one_world(photos: list) -> None:  # type: ignore[type-arg]
    rng, seen = np.random.default_rng(SEED), [look(*photo) for photo in photos]

    found = [states(Series(SHAPE), resampled(seen, 2000 + 50 * 500, rng)) for _ in range(4)]

    alarms = sum(each.count(DriftState.DRIFTED) for each in found)
    assert alarms == 0, f"{alarms} alarms in 200 windows of 500 observations, seed {SEED}"


@pytest.mark.parametrize("shift", sorted(SHIFTS.keys() - {"rotation"}))
def test_what_befalls_photos_is_seen(photos: list, shift: str) -> None:  # type: ignore[type-arg]
    rng, series = np.random.default_rng(SEED), Series(SHAPE)
    states(series, resampled([look(*photo) for photo in photos], 2050, rng))

    changed = [look(SHIFTS[shift](image, 1, rng), boxes) for image, boxes in photos]

    assert delay(series, resampled(changed, 300, rng)) <= 300
    assert status(series, NOON_S).features[0].feature.name in TELLING[shift]


def test_other_things_in_photos_are_seen(photos: list) -> None:  # type: ignore[type-arg]
    rng, series = np.random.default_rng(SEED), Series(SHAPE)
    person = 1
    people, others = (
        [look(*p) for p in photos if any(c == person for _, c in p[1]) is is_of] for is_of in (True, False)
    )
    states(series, resampled(people, 2050, rng))

    assert delay(series, resampled(others, 300, rng)) <= 300
    assert status(series, NOON_S).features[0].feature.name == "class_mix"


def test_a_camera_that_hangs_is_seen(video: list[NDArray[np.uint8]]) -> None:
    series = Series(SHAPE)
    states(series, [look(image) for image in video[:1000]] * 2)

    assert delay(series, [look(video[1000])] * 300) <= 300
    assert status(series, NOON_S).features[0].feature.name == "repeats"


def test_a_video_is_one_world_in_whatever_pieces_and_what_befalls_its_camera_is_seen(
    video: list[NDArray[np.uint8]],
) -> None:
    rng, seen = np.random.default_rng(SEED), [look(image) for image in video]
    start = int(rng.integers(len(seen)))
    in_a_row = (seen[start:] + seen[:start]) * 4
    pieces = [each for at in rng.integers(0, len(seen) - 100, 60) for each in seen[at : at + 100]]

    assert DriftState.DRIFTED not in states(Series(SHAPE), in_a_row)
    assert DriftState.DRIFTED not in states(Series(SHAPE), pieces)

    for shift, telling in TELLING.items():
        series = Series(SHAPE)
        states(series, in_a_row[:2250])
        changed = [look(SHIFTS[shift](image, 1, rng)) for image in video[100:1100:20]]
        held = [as_if_live(each, rng) for each in changed for _ in range(6)]
        assert delay(series, held) <= 300, shift
        assert status(series, NOON_S).features[0].feature.name in telling, shift
