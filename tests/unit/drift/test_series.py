from __future__ import annotations

import random

import numpy as np
import pytest
from support.drift import NOON_S, block, feed, observation, observations

from detector_grpc.drift.evidence import DriftState
from detector_grpc.drift.reference import Days, Reference
from detector_grpc.drift.series import Series, Shape
from detector_grpc.drift.status import status

DAY_S, HOUR_S = 86400.0, 3600.0
SHAPE = Shape(block=20, first=10, hourly=8, learn_days_s=2 * DAY_S)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.fixture
def learned(rng: np.random.Generator) -> Series:
    series = Series(SHAPE)
    feed(series, observations(rng, 200))
    return series


def test_the_first_observations_become_the_reference(rng: np.random.Generator) -> None:
    series = Series(SHAPE)

    at_s = feed(series, observations(rng, 199))
    assert series.state is DriftState.LEARNING
    assert status(series, at_s).wanted == 200

    feed(series, observations(rng, 1), at_s)
    assert series.state is DriftState.STABLE
    assert series.reference is not None
    assert series.reference.source == "first 200 observations"
    assert status(series, at_s).wanted == 0


def test_what_says_nothing_teaches_nothing(rng: np.random.Generator) -> None:
    series, silent = Series(SHAPE), observation(rng)._replace(values=np.full(21, np.nan, np.float32))

    feed(series, [silent] * 1000)
    assert series.state is DriftState.LEARNING

    feed(series, observations(rng, 200))
    assert series.state is DriftState.STABLE


def test_a_change_is_told_in_words_and_so_is_its_end(rng: np.random.Generator, learned: Series) -> None:
    at_s = feed(learned, observations(rng, 60, brightness=50), NOON_S + 200)

    told = status(learned, at_s)
    assert told.state is DriftState.DRIFTED
    assert told.features[0].feature.name == "brightness"
    assert told.features[0].words.startswith("brightness fell from 1")
    assert [each.feature.name for each in told.features if each.drifted] == ["brightness"]
    assert told.drifted_share == pytest.approx(1 / 23)
    assert NOON_S + 200 < told.since_s <= at_s

    at_s = feed(learned, observations(rng, 120), at_s)
    assert learned.state is DriftState.STABLE


def test_two_blocks_are_enough_and_one_is_not(rng: np.random.Generator, learned: Series) -> None:
    at_s = feed(learned, observations(rng, 20, noise=90), NOON_S + 200)
    assert learned.state is DriftState.WARNING

    feed(learned, observations(rng, 20, noise=90), at_s)
    assert learned.state is DriftState.DRIFTED


def test_what_happens_at_a_time_of_day_that_nobody_knows_is_only_warned_of(
    rng: np.random.Generator, learned: Series
) -> None:
    at_s = feed(learned, observations(rng, 100, brightness=20), NOON_S + 7 * HOUR_S)

    assert learned.state is DriftState.WARNING
    assert not status(learned, at_s).knows_hour


def test_without_days_to_learn_every_time_of_day_is_known(rng: np.random.Generator) -> None:
    series = Series(SHAPE._replace(learn_days_s=0))
    feed(series, observations(rng, 200))

    feed(series, observations(rng, 100, brightness=20), NOON_S + 7 * HOUR_S)

    assert series.state is DriftState.DRIFTED


def lit(at_s: float) -> float:
    """Brightness of a place that is dark from 18 to 6 o'clock."""
    return 200.0 if 6 <= at_s % DAY_S / HOUR_S < 18 else 20.0


def test_after_two_days_night_is_no_drift_and_light_at_night_is(rng: np.random.Generator) -> None:
    series, at_s, states = Series(SHAPE), NOON_S, []
    while at_s < NOON_S + 4 * DAY_S:
        at_s += 60
        series.add(observation(rng, brightness=lit(at_s)), at_s)
        if at_s > NOON_S + 2.1 * DAY_S:
            states.append(series.state)
    assert series.reference is not None
    assert series.reference.daily
    assert set(states) == {DriftState.STABLE}

    while at_s % DAY_S / HOUR_S < 23:
        at_s += 60
        series.add(observation(rng, brightness=lit(at_s)), at_s)
    assert series.state is DriftState.STABLE
    feed(series, observations(rng, 60, brightness=200), at_s, every_s=10)
    assert series.state is DriftState.DRIFTED


@pytest.mark.parametrize("jump_s", [-30 * DAY_S, 30 * DAY_S, -1e10, 1e12])
def test_a_clock_that_jumps_changes_no_state(rng: np.random.Generator, learned: Series, jump_s: float) -> None:
    feed(learned, observations(rng, 200), max(NOON_S + jump_s // DAY_S * DAY_S, 0.0))

    assert learned.state is DriftState.STABLE
    assert learned.days is not None
    assert learned.days.covered_s <= DAY_S + 1000


def test_what_was_drifted_is_not_learned(rng: np.random.Generator, learned: Series) -> None:
    assert learned.days is not None
    feed(learned, observations(rng, 60, noise=90), NOON_S + 200)
    kept = len(learned.days.blocks())

    feed(learned, observations(rng, 60, noise=90), NOON_S + 300)

    assert len(learned.days.blocks()) == kept


def test_a_new_reference_is_a_new_beginning(rng: np.random.Generator, learned: Series) -> None:
    at_s = feed(learned, observations(rng, 200, noise=90), NOON_S + 200)
    assert learned.state is DriftState.DRIFTED

    learned.use(Reference(learned.recent * 2, "the window", at_s), at_s)
    assert learned.state is DriftState.STABLE
    feed(learned, observations(rng, 60, noise=90), at_s)
    assert learned.state is DriftState.STABLE


def test_an_hour_keeps_its_share_by_chance(rng: np.random.Generator) -> None:
    days, chance = Days(NOON_S), random.Random(3)  # noqa: S311
    blocks = [block(rng, 2, NOON_S + number) for number in range(100)]
    for each in blocks:
        days.add(each, 8, chance)

    kept = days.blocks()
    assert len(kept) == 8
    assert [each.at_s for each in kept] == sorted(each.at_s for each in kept)
    assert kept[-1].at_s - kept[0].at_s > 50
    assert days.seen == {12: 100}
