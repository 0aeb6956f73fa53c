"""What else makes a picture worth a label."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detector_grpc.capture.signals import MIN_PICTURES, ClassRarity, Flicker, disagreement
from detector_grpc.vision.agreement import Agreement, Labelled

CAR, BUS = ((0, 0, 10, 10), "car"), ((50, 50, 60, 60), "bus")


def found(*boxes: tuple[tuple[int, int, int, int], str]) -> Labelled:
    return Labelled(np.array([xyxy for xyxy, _ in boxes], np.float32).reshape(-1, 4), [name for _, name in boxes])


def test_a_class_is_as_rare_as_the_pictures_before_say() -> None:
    rarity = ClassRarity()
    for number in range(1000):
        rarity.see(["car", "car"] if number % 10 else ["car", "bus"])
    assert rarity.see(["car"]) == pytest.approx(0.0)
    assert rarity.see(["car", "bus"]) == pytest.approx(1 - math.log(101) / math.log(1002))
    assert rarity.see(["tram"]) == 1.0
    assert rarity.see(["tram"]) < 1.0
    assert rarity.see([]) == 0.0


def test_nothing_is_rare_before_much_was_seen() -> None:
    rarity = ClassRarity()
    assert [rarity.see(["car"]) for _ in range(MIN_PICTURES)] == [0.0] * MIN_PICTURES
    assert rarity.see(["bus"]) == 1.0


@pytest.mark.parametrize(
    ("agreement", "expected"),
    [
        (Agreement(0, 0, 0, 0), 0.0),
        (Agreement(3, 0, 0, 0), 0.0),
        (Agreement(0, 1, 0, 0), 1.0),
        (Agreement(0, 0, 2, 1), 1.0),
        (Agreement(1, 0, 1, 1), 0.5),
        (Agreement(2, 0, 1, 0), 0.2),
    ],
)
def test_versions_differ_by_what_they_do_not_share(agreement: Agreement, expected: float) -> None:
    assert disagreement(agreement) == pytest.approx(expected)


def seen(*frames: Labelled) -> list[tuple[int, float]]:
    flicker = Flicker[int]()
    told = (flicker.see(number, frame) for number, frame in enumerate(frames))
    return [tuple(each) for each in told if each is not None]


def test_what_stays_does_not_flicker() -> None:
    assert seen(*[found(CAR, BUS)] * 4) == [(1, 0.0), (2, 0.0)]


def test_what_is_missing_in_one_frame_flickers_there() -> None:
    assert seen(found(CAR, BUS), found(CAR), found(CAR, BUS), found(CAR, BUS)) == [(1, 0.5), (2, 0.0)]


def test_what_is_in_one_frame_only_flickers_there() -> None:
    assert seen(found(CAR), found(CAR, BUS), found(CAR)) == [(1, 0.5)]


def test_what_comes_or_goes_for_good_does_not_flicker() -> None:
    assert seen(found(), found(), found(CAR), found(CAR), found(), found()) == [(i, 0.0) for i in range(1, 5)]


def test_another_class_is_another_object() -> None:
    taken_for_a_bus = found((CAR[0], "bus"))
    assert seen(found(CAR), taken_for_a_bus, found(CAR)) == [(1, 1.0)]
