from __future__ import annotations

import itertools

import numpy as np
import pytest

from detector_grpc.drift.simulator import SHIFTS, Replay, class_mix, frozen

CALM = np.full((48, 64, 3), 100, np.uint8)
OTHER = np.full((48, 64, 3), 9, np.uint8)


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shift_changes_more_the_stronger_it_is_and_keeps_size_and_type(shift: str) -> None:
    rng = np.random.default_rng(2)
    luma = rng.normal(np.linspace(60, 160, 320), 20, (240, 320)).clip(0, 255)
    image = np.dstack([luma] * 3).astype(np.uint8)

    changed = [
        np.mean([np.abs(SHIFTS[shift](image, strength, rng).astype(float) - image) for _ in range(20)])
        for strength in (0.0, 0.5, 1.0)
    ]

    again = SHIFTS[shift](image, 1.0, rng)
    assert (again.shape, again.dtype) == (image.shape, image.dtype)
    assert changed[0] < 2
    assert changed[0] < changed[1] < changed[2]


def test_a_replay_changes_from_a_moment_on() -> None:
    replay = Replay(SHIFTS["dead"], 1.0, begins_at=3)

    seen = [int(image.mean()) for image in replay.of([CALM] * 5)]

    assert seen == [100, 100, 100, 0, 0]
    assert (replay.read, replay.changed) == (5, 2)


def test_a_replay_can_be_told_when_to_begin() -> None:
    replay = Replay(SHIFTS["dead"], 1.0)
    images = replay.of(itertools.repeat(CALM))
    assert [int(next(images).mean()) for _ in range(3)] == [100] * 3
    assert not replay.has_begun

    replay.begin()

    assert int(next(images).mean()) == 0
    assert replay.changed == 1


def test_a_new_mix_is_other_pictures_more_and_more_often() -> None:
    rng = np.random.default_rng(1)
    shares = [
        np.mean([class_mix(itertools.repeat(OTHER))(CALM, strength, rng)[0, 0, 0] == 9 for _ in range(400)])
        for strength in (0.0, 0.5, 1.0)
    ]

    assert shares == [0, pytest.approx(0.5, abs=0.1), 1]


def test_a_camera_that_hangs_sends_the_picture_before() -> None:
    images = [np.full((8, 8, 3), number, np.uint8) for number in range(40)]

    shown = {
        strength: [int(image.mean()) for image in Replay(frozen(), strength, 5).of(images)]
        for strength in (0.0, 0.5, 1.0)
    }

    assert shown[0.0] == list(range(40))
    assert shown[1.0] == [*range(5), *[5] * 35]
    assert 10 < len(set(shown[0.5])) < 35


def test_the_same_seed_is_the_same_world() -> None:
    one, other, third = (np.stack(list(Replay(SHIFTS["noise"], 0.5, 0, seed).of([CALM] * 3))) for seed in (4, 4, 5))

    assert (one == other).all()
    assert (one != third).any()
